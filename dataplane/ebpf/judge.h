//go:build ignore

// May this packet pass, and whither? judge answers from the flow table when all
// that the flow was judged by is still in force, and else asks endpoints, pairs
// and rules anew. It touches no packet byte.
#pragma once

enum judgement {
	FORWARD, // from src_slot to dst_slot
	DROP,    // for reason
	MISS,    // for want
	LEAVE,   // to the kernel's decapsulation
	ANSWER,  // back to the port, it is the answer now
};

static __always_inline struct dest *dest_at(__u32 slot)
{
	return bpf_map_lookup_elem(&dests, &slot);
}

// generation is read before what it guards.
static __always_inline __u32 generation(const __u32 *gen)
{
	__u32 g = *(const volatile __u32 *)gen;
	asm volatile("" ::: "memory");
	return g;
}

static __always_inline int is_local(const struct dest *d)
{
	return d->kind == DEST_VETH || d->kind == DEST_TAP;
}

static __always_inline int refuse(struct packet *p, enum reason r)
{
	p->reason = r;
	return DROP;
}

// lacks is a miss, or for a packet that has missed for the same before, its end.
static __always_inline int lacks(struct packet *p, enum want want)
{
	p->want = want;
	if (!p->again || p->again_want != want)
		return MISS;
	if (want == WANT_PEER)
		return refuse(p, NO_ENDPOINT);
	if (want == WANT_CONFIRM)
		return refuse(p, SOURCE_MISMATCH);
	p->table = 0; // default-deny
	p->rule = 0;
	return refuse(p, POLICY);
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

// matches reports whether the overlay's headers say of the source what the DPC
// says. A hidden source has no VTEP to compare.
static __always_inline int matches(const struct packet *p, const struct dest *src)
{
	if (src->class != p->class)
		return 0;
	return src->kind == DEST_HIDDEN || (src->kind == DEST_REMOTE && src->vtep == p->vtep);
}

// known judges a packet by its flow. It returns -1 where the flow does not
// settle it: judge anew.
static __always_inline int known(struct packet *p, __u32 length)
{
	struct flow *f = find(p);
	if (!f)
		return -1;
	__u32 now = now_ticks();
	struct leg *from = &f->leg[p->swapped & 1], *to = &f->leg[!p->swapped];
	__u32 pair = f->pair;
	struct dest *src = dest_at(from->slot), *dst = dest_at(to->slot);
	struct pair_slot *ps = bpf_map_lookup_elem(&pair_slots, &pair);

	if (!src || !dst || !ps || src->gen != from->gen || dst->gen != to->gen || ps->gen != f->pair_gen)
		return -1;
	// The table may have given the entry to another flow since it was found.
	if (src->vni != p->vni || dst->vni != p->vni)
		return -1;
	if (expired(f, p->proto, now) || opens(p, f))
		return -1;
	if (p->direction == IN_GUEST) {
		if (src->port != p->port || !is_local(src))
			return -1;
	} else {
		if (!is_local(dst) || src->kind != DEST_REMOTE || !(src->flags & DEST_ADMITTED) || !matches(p, src))
			return -1;
		if (p->wire && dst->kind == DEST_TAP)
			return LEAVE;
		p->port = dst->port;
		p->mtu = dst->mtu;
	}
	if (p->size > p->mtu)
		return refuse(p, TOO_BIG);
	if (dst->kind != DEST_REMOTE && !is_local(dst))
		return -1;
	if (against(p, f))
		return refuse(p, BAD_REPLY);
	touch(p, f, length, now);
	p->src_slot = from->slot;
	p->dst_slot = to->slot;
	return FORWARD;
}

static __noinline int begin(struct packet *p, struct flow *f)
{
	__u32 port = p->port;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port);
	long failed;

	if (!s)
		return refuse(p, NO_PORT);
	if (__sync_fetch_and_add(&s->flows, 1) >= s->budget) {
		__sync_fetch_and_sub(&s->flows, 1);
		return refuse(p, FLOW_BUDGET);
	}
	if (p->v6) {
		struct flow6_key k;
		key6(p, &k);
		failed = bpf_map_update_elem(&flows6, &k, f, BPF_NOEXIST);
	} else {
		struct flow4_key k;
		key4(p, &k);
		failed = bpf_map_update_elem(&flows4, &k, f, BPF_NOEXIST);
	}
	if (!failed)
		return FORWARD;
	__sync_fetch_and_sub(&s->flows, 1);
	// Another CPU may have begun it with a packet of the same flow.
	return failed == -17 ? FORWARD : refuse(p, FLOW_TABLE_FULL);
}

static __always_inline __u32 slot_of(const struct packet *p, const __be32 *addr)
{
	struct endpoint_key k = {.vni = p->vni};
	__builtin_memcpy(k.addr, addr, 16);
	__u32 *slot = bpf_map_lookup_elem(&endpoints, &k);
	return slot ? *slot : 0;
}

// unknown says what becomes of a packet from or to an address that nobody has
// named yet, or that nobody has.
static __noinline int unknown(struct packet *p, int target)
{
	struct endpoint_key k = {.vni = p->vni};
	__builtin_memcpy(k.addr, target ? p->dst : p->src, 16);
	__u64 *end = bpf_map_lookup_elem(&absent, &k);
	if (end && now_ns() < *end)
		return refuse(p, NO_ENDPOINT);
	return lacks(p, WANT_PEER);
}

struct pair_found {
	__u32 slot, gen;
};

// verdict asks the table of a pair. It returns FORWARD where it allows.
static __noinline int verdict(struct packet *p, struct pair_key *pk, __u16 asked, struct pair_found *found)
{
	__u32 *at = bpf_map_lookup_elem(&pairs, pk);
	if (!at)
		return lacks(p, WANT_PAIR);
	__u32 pair = *at;
	struct pair_slot *ps = bpf_map_lookup_elem(&pair_slots, &pair);
	if (!ps)
		return lacks(p, WANT_PAIR);
	found->slot = pair;
	found->gen = generation(&ps->gen);
	__u32 table = ps->table;
	if (!table)
		return lacks(p, WANT_PAIR);
	struct rule_key rk = {
		.prefixlen = 56,
		.table = bpf_htonl(table),
		.proto = p->proto,
		.port = {asked >> 8, asked & 0xff},
	};
	struct rule *r = bpf_map_lookup_elem(&rules, &rk);
	if (!r)
		return lacks(p, WANT_PAIR);
	p->judged = 1;
	p->table = table;
	p->rule = r->id;
	return r->allow ? FORWARD : refuse(p, POLICY);
}

// anew judges a packet from what is known of its two ends.
static __noinline int anew(struct packet *p, __u32 length)
{
	__u32 src_slot = slot_of(p, p->src), dst_slot = slot_of(p, p->dst);
	struct dest *src = dest_at(src_slot), *dst = dest_at(dst_slot);
	if (!src || !dst)
		return refuse(p, MALFORMED);
	__u32 src_gen = generation(&src->gen), dst_gen = generation(&dst->gen);
	int has_src = src_slot && src->kind != DEST_NONE;
	int has_dst = dst_slot && dst->kind != DEST_NONE;

	p->src_slot = src_slot;
	p->dst_slot = dst_slot;
	if (p->direction == IN_GUEST) {
		if (!has_src || !is_local(src) || src->port != p->port)
			return refuse(p, SPOOFED_ADDRESS);
		if (p->size > p->mtu)
			return refuse(p, TOO_BIG);
		if (!has_dst)
			return unknown(p, 1);
	} else {
		if (!has_dst || !is_local(dst))
			return refuse(p, NOT_HERE);
		if (p->wire && dst->kind == DEST_TAP)
			return LEAVE;
		p->port = dst->port;
		if (p->size > dst->mtu)
			return refuse(p, TOO_BIG);
		if (!has_src)
			return unknown(p, 0);
		if (!matches(p, src))
			return lacks(p, WANT_CONFIRM);
	}

	// A live flow between the same two lives is judged by its initiator's
	// direction and keeps its state; anything else begins another.
	__u32 now = now_ticks();
	struct flow *f = find(p);
	int from = p->swapped & 1, live = 0;
	if (f && (f->leg[from].uid != src->uid || f->leg[!from].uid != dst->uid)) {
		forget(p, f->port);
		f = 0;
	}
	if (f && !expired(f, p->proto, now)) {
		if (against(p, f))
			return refuse(p, BAD_REPLY);
		live = !opens(p, f);
	}
	int backwards = live && f->initiator != from;
	__u16 asked = backwards ? p->src_port : p->asked;

	struct pair_key pk = {
		.domain = p->domain,
		.src = backwards ? dst->class : src->class,
		.dst = backwards ? src->class : dst->class,
	};
	struct pair_found pair = {};
	int j = verdict(p, &pk, asked, &pair);
	if (j != FORWARD)
		return j;
	if (src->kind == DEST_HIDDEN || dst->kind == DEST_HIDDEN)
		return refuse(p, HIDDEN);
	if (dst->kind == DEST_HERE)
		return refuse(p, NOT_HERE);
	if (p->icmp && (p->echo == NO_ECHO || (p->echo == ECHO_REPLY && !live)))
		return FORWARD; // begins no flow

	if (f) {
		if (!live) {
			f->state = 0;
			f->initiator = from;
			f->packets[0] = f->packets[1] = f->bytes[0] = f->bytes[1] = 0;
		}
		f->leg[from].slot = src_slot;
		f->leg[!from].slot = dst_slot;
		f->leg[from].gen = src_gen;
		f->leg[!from].gen = dst_gen;
		f->pair = pair.slot;
		f->table = p->table;
		f->rule = p->rule;
		f->pair_gen = pair.gen;
		if (live)
			p->judged = 0; // the rule is told once
		touch(p, f, length, now);
		return FORWARD;
	}
	__u32 zero = 0;
	struct flow *new = bpf_map_lookup_elem(&new_flow, &zero);
	if (!new)
		return refuse(p, FLOW_TABLE_FULL);
	__builtin_memset(new, 0, sizeof(*new));
	new->last = now;
	new->initiator = from;
	new->rule = p->rule;
	new->pair = pair.slot;
	new->pair_gen = pair.gen;
	new->table = p->table;
	new->port = p->port;
	new->leg[from].slot = src_slot;
	new->leg[from].gen = src_gen;
	new->leg[from].uid = src->uid;
	new->leg[!from].slot = dst_slot;
	new->leg[!from].gen = dst_gen;
	new->leg[!from].uid = dst->uid;
	touch(p, new, length, now);
	return begin(p, new);
}

static __always_inline int judge(struct packet *p, __u32 length)
{
	int j = known(p, length);
	return j < 0 ? anew(p, length) : j;
}
