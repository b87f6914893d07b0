//go:build ignore

// The flow table: one entry for both directions of a conversation, found by its
// two sides in a fixed order, and how long it lives.
#pragma once

// Tick is 2^27 ns, 0.134 s: fine enough for time-outs, and coarse enough that
// the stamp of a busy flow is seldom written.
#define TICK_SHIFT 27
#define SECONDS(s) ((__u32)(((__u64)(s) * 1000000000) >> TICK_SHIFT))

static __always_inline __u64 now_ns(void)
{
	return bpf_ktime_get_coarse_ns();
}

// What the clock said when the kernel last counted its own time on. To ask it for
// each packet costs calls, whose returns are dear; jiffies are read without one.
// Programs that run at once write the same here.
static volatile __u64 said_at; // jiffies
static volatile __u32 said;    // ticks

static __always_inline __u32 now_ticks(void)
{
	__u64 at = bpf_jiffies64();

	if (said_at != at) {
		said = now_ns() >> TICK_SHIFT;
		said_at = at;
	}
	return said;
}

// paced is a bucket without a clock of its own (GCRA): at is when the next one
// is due at an even pace, and may run ahead of now by burst.
static __always_inline int paced(__u64 *at, __u64 interval, __u64 burst)
{
	if (!interval)
		return 1;
	__u64 now = now_ns(), due = *(volatile __u64 *)at;
	__u64 start = due > now ? due : now;
	if (start - now + interval > burst)
		return 0;
	// Who loses the race has taken nothing: one more in a burst does not matter.
	__sync_val_compare_and_swap(at, due, start + interval);
	return 1;
}

static __always_inline struct settings *settings(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&config, &zero);
}

// ports_of is what an entry says of its ports.
static __always_inline __u32 ports_of(const struct packet *p)
{
	return p->swapped ? (__u32)p->dst_port << 16 | p->src_port : (__u32)p->src_port << 16 | p->dst_port;
}

// source_port is the outer one of a packet, the same in both directions of a flow.
static __always_inline __u16 source_port(const struct packet *p)
{
	__u32 h = p->src[3] ^ p->dst[3];
	if (p->v6)
		h ^= (p->src[2] ^ p->dst[2]) * 31;
	if (!p->piece) // only the first one has ports
		h ^= (__u32)(p->src_port ^ p->dst_port) << 8;
	h = (h ^ p->proto) * 0x9e3779b1;
	return 0xc000 | (h >> 18);
}

static __always_inline void order(struct packet *p)
{
	int swap = p->src_port > p->dst_port;
	int first = p->v6 ? 0 : 3;

#pragma unroll
	for (int i = 3; i >= 0; i--) {
		if (i >= first && p->src[i] != p->dst[i])
			swap = p->src[i] > p->dst[i];
	}
	p->swapped = swap;
}

// The keys' two sides change places without a branch, whose both ways the verifier
// would walk wherever a key is made.
static __always_inline void key4(const struct packet *p, struct flow4_key *k)
{
	__u32 swap = -(__u32)(p->swapped & 1);
	__u32 addrs = (p->src[3] ^ p->dst[3]) & swap, ports = (p->src_port ^ p->dst_port) & swap;
	k->vni = p->vni;
	k->lo = p->src[3] ^ addrs;
	k->hi = p->dst[3] ^ addrs;
	k->lo_port = p->src_port ^ ports;
	k->hi_port = p->dst_port ^ ports;
	k->proto = p->proto;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
}

static __always_inline void key6(const struct packet *p, struct flow6_key *k)
{
	__u32 swap = -(__u32)(p->swapped & 1), ports = (p->src_port ^ p->dst_port) & swap;
	k->vni = p->vni;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 addrs = (p->src[i] ^ p->dst[i]) & swap;
		k->lo[i] = p->src[i] ^ addrs;
		k->hi[i] = p->dst[i] ^ addrs;
	}
	k->lo_port = p->src_port ^ ports;
	k->hi_port = p->dst_port ^ ports;
	k->proto = p->proto;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
}

// ordered looks the packet's flow up. The two look-ups are kept apart so that the
// verifier knows each map and inlines the call.
static __always_inline struct flow *ordered(struct packet *p)
{
	struct flow *f;

	if (p->v6) {
		struct flow6_key k;
		key6(p, &k);
		f = bpf_map_lookup_elem(&flows6, &k);
		asm volatile("%0 = %0" : "+r"(f)); // what differs is not merged
	} else {
		struct flow4_key k;
		key4(p, &k);
		f = bpf_map_lookup_elem(&flows4, &k);
		asm volatile("" : "+r"(f));
	}
	return f;
}

static __always_inline struct flow *find(struct packet *p)
{
	order(p);
	return ordered(p);
}

// sort is order where the stack is short and time is not.
__noinline int sort(struct packet *p)
{
	if (p)
		order(p);
	return 0;
}

// seek finds the flow of a packet that is sorted.
static __noinline struct flow *seek(struct packet *p)
{
	return ordered(p);
}

static __always_inline __u32 time_out(const struct flow *f, __u8 proto)
{
	switch (proto) {
	case PROTO_TCP:
		if (FLOW_CLOSED(f->state))
			return SECONDS(10);
		if (!(f->state & FLOW_CONFIRMED))
			return SECONDS(30);
		return f->state & (FLOW_FIN_INITIATOR | FLOW_FIN_RESPONDER) ? SECONDS(120) : SECONDS(7200);
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		return SECONDS(30);
	}
	return f->state & FLOW_CONFIRMED ? SECONDS(120) : SECONDS(30);
}

static __always_inline int expired(const struct flow *f, __u8 proto, __u32 now)
{
	return (__s32)(now - f->last) > (__s32)time_out(f, proto); // another CPU may be a tick ahead
}

// opens reports whether a packet of a live flow is the first of another one.
static __always_inline int opens(const struct packet *p, const struct flow *f)
{
	return p->proto == PROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       (f->initiator != p->swapped || FLOW_CLOSED(f->state));
}

// against reports whether an echo goes the way that its flow does not.
static __always_inline int against(const struct packet *p, const struct flow *f)
{
	return (p->echo == ECHO_REQUEST && f->initiator != p->swapped) ||
	       (p->echo == ECHO_REPLY && f->initiator == p->swapped);
}

static __always_inline void less(__u32 *count)
{
	if (*(volatile __u32 *)count)
		__sync_fetch_and_sub(count, 1);
}

static __always_inline struct domain_state *domain_of(const struct port_state *s)
{
	__u32 domain = s->domain;
	return bpf_map_lookup_elem(&domain_states, &domain);
}

static __always_inline void begun(struct port_state *s, struct port_state *all, struct domain_state *d)
{
	less(&s->unconfirmed);
	less(&all->unconfirmed);
	if (d)
		less(&d->unconfirmed);
}

// confirmed takes a flow out of those of its port, its domain and all that are not.
__noinline int confirmed(__u32 port)
{
	__u32 zero = 0;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port), *all = bpf_map_lookup_elem(&port_states, &zero);
	if (s && all)
		begun(s, all, domain_of(s));
	return 0;
}

static __always_inline void touch(struct packet *p, struct flow *f, __u32 length, __u32 now)
{
	int from_initiator = f->initiator == p->swapped, leg = p->swapped & 1;
	__u32 was = f->state, is = was;

	if (!from_initiator)
		is |= FLOW_REPLIED;
	if (p->proto == PROTO_TCP) {
		if (p->tcp & TCP_FIN)
			is |= from_initiator ? FLOW_FIN_INITIATOR : FLOW_FIN_RESPONDER;
		if (p->tcp & TCP_RST)
			is |= FLOW_RST;
	}
	if (is & FLOW_REPLIED && (!(is & FLOW_SYN) || (from_initiator && !(p->tcp & TCP_SYN))))
		is |= FLOW_CONFIRMED;
	if (is != was) {
		was = __sync_fetch_and_or(&f->state, is);
		if (is & ~was & FLOW_CONFIRMED)
			confirmed(f->port);
	}
	if (f->last != now)
		f->last = now;
	f->packets[leg]++;
	f->bytes[leg] += length;
}

// free_budget gives an entry back. A count that is too low by some race lets a
// port have an entry more; below zero it would let it have none.
__noinline int free_budget(__u32 port, __u32 state)
{
	__u32 zero = 0;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port), *all = bpf_map_lookup_elem(&port_states, &zero);
	if (!s || !all)
		return 0;
	struct domain_state *d = domain_of(s);
	less(&s->flows);
	less(&all->flows);
	if (d)
		less(&d->flows);
	if (!(state & FLOW_CONFIRMED))
		begun(s, all, d);
	return 0;
}

// store puts an entry under the packet's key.
__noinline long store(struct packet *p, struct flow *f, __u64 flags)
{
	if (!p || !f)
		return -1;
	if (p->v6) {
		struct flow6_key k;
		key6(p, &k);
		return bpf_map_update_elem(&flows6, &k, f, flags);
	}
	struct flow4_key k;
	key4(p, &k);
	return bpf_map_update_elem(&flows4, &k, f, flags);
}

__noinline int forget(struct packet *p, __u32 port, __u32 state)
{
	long failed;

	if (!p)
		return 0;
	if (p->v6) {
		struct flow6_key k;
		key6(p, &k);
		failed = bpf_map_delete_elem(&flows6, &k);
	} else {
		struct flow4_key k;
		key4(p, &k);
		failed = bpf_map_delete_elem(&flows4, &k);
	}
	if (!failed)
		free_budget(port, state);
	return 0;
}
