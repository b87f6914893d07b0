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
	ECHO,    // an echo request to a router
};

int hint(struct packet *p); // report.h

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

static __always_inline int is_port(const struct dest *d)
{
	return is_local(d) || d->kind == DEST_STANDBY;
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
	if (want == WANT_FIRST)
		return refuse(p, FRAGMENT);
	p->table = 0; // default-deny
	p->rule = 0;
	return refuse(p, POLICY);
}

#include "route.h"

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

static __always_inline int same_vtep(const __be32 *a, const __be32 *b)
{
	return outer6 ? same16(a, b) : a[3] == b[3];
}

// by_other reports whether a packet came by the host of an address's other binding.
static __always_inline int by_other(const struct packet *p, const struct dest *d)
{
	return same_vtep(d->other, p->vtep) && d->flags & DEST_OTHER_ADMITTED;
}

// came_from reports whether a packet came from where its source is.
static __always_inline int came_from(const struct packet *p, const struct dest *src)
{
	if (src->kind == DEST_REMOTE && same_vtep(src->vtep, p->vtep) && src->flags & DEST_ADMITTED)
		return 1;
	return by_other(p, src);
}

// by_foreign reports whether a packet came by a foreign VTEP that its source is
// behind: what it says of the class means nothing.
static __always_inline int by_foreign(const struct packet *p, const struct dest *src)
{
	return src->kind == DEST_REMOTE && src->flags & DEST_FOREIGN && same_vtep(src->vtep, p->vtep);
}

// matches reports whether the packet comes from where the DPC says that its
// source is. A hidden source has no VTEP to compare.
static __always_inline int matches(const struct packet *p, const struct dest *src)
{
	return src->kind == DEST_HIDDEN || came_from(p, src);
}

// owns reports whether a slot is still that of an address on the packet's network.
static __always_inline int owns(const struct dest *d, const struct packet *p, const __be32 *addr)
{
	return d->vni == p->vni && d->addr[3] == addr[3] &&
	       (!p->v6 || (d->addr[0] == addr[0] && d->addr[1] == addr[1] && d->addr[2] == addr[2]));
}

// covers reports whether a slot stands for a prefix that the address of the packet's
// local end lies in.
__noinline int covers(const struct dest *d, const struct packet *p, int target)
{
	if (!d || !p || !(d->flags & DEST_PREFIX) || d->vni != (p->vni | PREFIX_VNI) || target != (p->direction == IN_OVERLAY))
		return 0;
	__u32 bits = d->bits;
	for (int i = 0; i < 4; i++, bits -= bits < 32 ? bits : 32) {
		__u32 mask = bits >= 32 ? ~0u : ~(~0u >> (bits & 31));
		if ((d->addr[i] ^ (target ? p->dst[i] : p->src[i])) & bpf_htonl(mask))
			return 0;
	}
	return 1;
}

// to_kernel reports whether a packet for a tap goes by the kernel's decapsulation,
// as it must where it is several packets merged: what a program unwraps stays
// marked as tunneled, and a tap takes merged packets only without that mark. The
// kernel's way is longer, so a TCP segment with data takes it too, whatever its
// size: it would overtake the merged ones before it.
static __always_inline int to_kernel(const struct packet *p, const struct dest *dst)
{
	if (!p->wire || dst->kind != DEST_TAP)
		return 0;
	return p->wire == WIRE_MERGED ||
	       (p->proto == PROTO_TCP && (p->size > p->headers || p->tcp & (TCP_FIN | TCP_RST) || p->piece));
}

// known judges a packet by its flow. It returns -1 where the flow does not
// settle it: judge anew.
static __always_inline int known(struct packet *p, __u32 length)
{
	if (p->piece)
		return -1;
	struct flow *f = find(p);
	if (!f)
		return -1;
	int side = p->swapped & 1;
	__u32 now = now_ticks(), from = f->slot[side], to = f->slot[!side], pair = f->pair;
	struct dest *src = dest_at(from), *dst = dest_at(to);
	struct pair_slot *ps = bpf_map_lookup_elem(&pair_slots, &pair);

	if (!src || !dst || !ps || src->gen != f->gen[side] || dst->gen != f->gen[!side] || ps->gen != f->pair_gen)
		return -1;
	if (f->proto != p->proto || f->ports != ports_of(p))
		return -1;
	if (!owns(src, p, p->src) && !covers(src, p, 0))
		return -1;
	if (!owns(dst, p, p->dst) && (!covers(dst, p, 1) || !same_mac(dst->mac, p->to)))
		return -1;
	if (expired(f, p->proto, now) || opens(p, f))
		return -1;
	if (p->direction == IN_GUEST) {
		if (src->port != p->port || !is_port(src))
			return -1;
	} else {
		if (!is_port(dst) || dst->flags & DEST_ROUTED || !came_from(p, src))
			return -1;
		if (to_kernel(p, dst))
			return LEAVE;
		p->port = dst->port;
		p->mtu = dst->mtu;
	}
	if (p->size > p->mtu) {
		if (p->direction == IN_GUEST || p->class != NO_CLASS)
			return refuse(p, TOO_BIG);
		p->port = 0; // it may not get so far
		return -1;
	}
	if (p->direction == IN_OVERLAY && src->class != p->class && !by_foreign(p, src)) {
		if (p->class == NO_CLASS) {
			p->port = 0; // it may not get so far
			return -1;
		}
		hint(p);
	}
	if (dst->kind != DEST_REMOTE && !is_port(dst))
		return -1;
	int routed = dst->flags & DEST_ROUTED;
	if (routed) {
		int j = crossing(p, to);
		if (j != FORWARD)
			return j;
	}
	if (against(p, f))
		return refuse(p, BAD_REPLY);
	touch(p, f, length, now);
	if (routed && f->twin)
		also(p, f, length);
	p->src_slot = from;
	p->dst_slot = to;
	return FORWARD;
}

// left is how many of so many there are after one more is taken.
static __always_inline __u32 left(__u32 limit, __u32 taken)
{
	return taken + 1 < limit ? limit - taken - 1 : 0;
}

// charge takes a place for a flow that begins at a port, of the port's, its
// domain's and all there are; one is 1 unless the flow is confirmed. It returns why
// there is none.
__noinline int charge(__u32 port, __u32 one)
{
	__u32 zero = 0;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port), *all = bpf_map_lookup_elem(&port_states, &zero);
	struct domain_state *d = s ? domain_of(s) : 0;
	int full = 0;

	if (!s || !all || !d)
		return NO_PORT;
	if (__sync_fetch_and_add(&d->flows, 1) >= SHARE * (__u64)left(all->budget, __sync_fetch_and_add(&all->flows, 1)))
		full = FLOW_TABLE_FULL;
	if (one && __sync_fetch_and_add(&d->unconfirmed, 1) >=
			   SHARE * (__u64)left((all->budget + 1) / 2, __sync_fetch_and_add(&all->unconfirmed, 1)))
		full = FLOW_TABLE_FULL;
	if (__sync_fetch_and_add(&s->flows, 1) >= s->budget)
		full = FLOW_BUDGET;
	if (one && __sync_fetch_and_add(&s->unconfirmed, 1) >= (s->budget + 1) / 2)
		full = FLOW_BUDGET;
	if (full)
		free_budget(port, one ? 0 : FLOW_CONFIRMED);
	return full;
}

// begin stores an entry that is not there yet, if its port may have another.
__noinline int begin(struct packet *p, struct flow *f)
{
	if (!p || !f)
		return DROP;
	int full = charge(p->port, !(f->state & FLOW_CONFIRMED));
	if (full)
		return refuse(p, full);
	long failed = store(p, f, BPF_NOEXIST);
	if (!failed)
		return FORWARD;
	free_budget(p->port, f->state);
	return failed == -17 ? FORWARD // another CPU has begun it, with a packet of the same flow
			     : refuse(p, FLOW_TABLE_FULL);
}

// join gives a flow that began at the other end's network an entry under the
// packet's own.
__noinline int join(struct packet *p, struct flow *new, __u32 other, __u32 length)
{
	if (!p || !new)
		return DROP;
	new->twin = other;
	new->port = p->port;
	int j = begin(p, new);
	if (j != FORWARD)
		return j;
	p->judged = 0;
	struct flow *f = seek(p), *first = seek_on(p, other);
	if (first)
		first->twin = p->vni;
	if (f) {
		touch(p, f, length, now_ticks());
		also(p, f, length);
	}
	return FORWARD;
}

static __noinline __u32 slot_of(const struct packet *p, const __be32 *addr)
{
	struct endpoint_key k = {.vni = p->vni};
	__builtin_memcpy(k.addr, addr, 16);
	__u32 *slot = bpf_map_lookup_elem(&endpoints, &k);
	return slot ? *slot : 0;
}

// permitted finds the slot by which a port is allowed an address, 0: it is not.
__noinline __u32 permitted(struct packet *p, __u32 port, int target)
{
	if (!p)
		return 0;
	struct permit_key k = {.prefixlen = 160, .port = port << 1 | p->v6};
	__builtin_memcpy(k.addr, target ? p->dst : p->src, 16);
	struct permit *a = bpf_map_lookup_elem(&permits, &k);
	return a ? a->slot : 0;
}

// spoofs reports whether a guest's packet is from a MAC that its sender may not use.
static __always_inline int spoofs(const struct packet *p, const struct dest *src)
{
	return p->other_mac && (!is_port(src) || src->port != p->port || src->flags & DEST_ROUTED || p->sender_differs || !same_mac(src->mac, p->mac));
}

// unknown says what becomes of a packet from or to an address that nobody has
// named yet, or that nobody has.
__noinline int unknown(struct packet *p, int target)
{
	if (!p)
		return DROP;
	struct endpoint_key k = {.vni = p->vni};
	__builtin_memcpy(k.addr, target ? p->dst : p->src, 16);
	if (target)
		p->nobody = 1;
	struct absence *a = bpf_map_lookup_elem(&absent, &k);
	if (a && now_ns() < a->end)
		return refuse(p, a->no_route ? NO_ROUTE : NO_ENDPOINT);
	return lacks(p, WANT_PEER);
}

struct pair_found {
	__u32 slot, gen;
};

// verdict asks the table of a pair. It returns FORWARD where it allows.
__noinline int verdict(struct packet *p, struct pair_key *pk, __u16 asked, struct pair_found *found)
{
	if (!p || !pk || !found)
		return DROP;
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

// between asks the table of two ends' classes for what a flow's initiator asked;
// backwards, that is dst.
static __always_inline int between(struct packet *p, const struct dest *src, const struct dest *dst, int backwards, __u16 asked, struct pair_found *found)
{
	struct pair_key k = {
		.domain = p->domain,
		.src = backwards ? dst->class : src->class,
		.dst = backwards ? src->class : dst->class,
	};
	int j = verdict(p, &k, asked, found);
	if (j != FORWARD)
		return j;
	if (src->kind == DEST_HIDDEN || dst->kind == DEST_HIDDEN)
		return refuse(p, HIDDEN);
	return dst->kind == DEST_HERE ? refuse(p, NOT_HERE) : FORWARD;
}

#define ERRORS 10 // about one flow, at once

// about judges an ICMP error by the flow whose packet it quotes, in that flow's
// direction. It returns -1 where there is none.
__noinline int about(struct packet *p, const struct dest *src, const struct dest *dst)
{
	if (!p || !src || !dst)
		return DROP;
	__u16 src_port = p->src_port, dst_port = p->dst_port;
	__u8 proto = p->proto;
	int j = -1;

	p->proto = p->about_proto;
	p->src_port = p->about_src;
	p->dst_port = p->about_dst;
	__u32 other = beyond(p, dst);
	sort(p);
	struct flow *f = seek(p);
	if (!f && other)
		f = seek_on(p, other);
	int from = p->swapped & 1;
	if (f && f->uid[from] == src->uid && f->uid[!from] == dst->uid && !expired(f, p->proto, now_ticks())) {
		struct pair_found found;
		int backwards = f->initiator != from;
		j = between(p, src, dst, backwards, backwards ? p->src_port : p->dst_port, &found);
		struct settings *c = settings();
		if (j == FORWARD && (!c || !paced(&f->error_at, c->error_interval, ERRORS * c->error_interval)))
			j = refuse(p, ERROR_LIMIT);
		if (j == FORWARD)
			p->judged = 0;
	}
	p->proto = proto;
	p->src_port = src_port;
	p->dst_port = dst_port;
	return j;
}

static __always_inline void piece_key(const struct packet *p, struct piece_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->vni = p->vni;
	__builtin_memcpy(k->src, p->src, 16);
	__builtin_memcpy(k->dst, p->dst, 16);
	k->id = p->piece_id;
	k->proto = p->v6 ? 0 : p->proto; // RFC 8200: pieces may say different things of it
}

// note_piece remembers what a first fragment was let through by.
__noinline int note_piece(struct packet *p)
{
	if (!p)
		return 0;
	struct dest *src = dest_at(p->src_slot), *dst = dest_at(p->dst_slot);
	struct piece_key k;
	struct piece v = {.at = now_ticks(), .asked = p->asked, .proto = p->proto, .backwards = p->backwards};

	if (!src || !dst)
		return 0;
	v.uid[0] = src->uid;
	v.uid[1] = dst->uid;
	piece_key(p, &k);
	bpf_map_update_elem(&pieces, &k, &v, BPF_ANY);
	return 0;
}

// later judges a fragment without transport header: as its first one was.
__noinline int later(struct packet *p, const struct dest *src, const struct dest *dst)
{
	if (!p || !src || !dst)
		return DROP;
	struct piece_key k;
	piece_key(p, &k);
	struct piece *first = bpf_map_lookup_elem(&pieces, &k);
	if (!first || now_ticks() - first->at > SECONDS(1) || first->uid[0] != src->uid || first->uid[1] != dst->uid) {
		// The first may be waiting for the very answer.
		struct pair_key pk = {.domain = p->domain, .src = src->class, .dst = dst->class};
		return lacks(p, bpf_map_lookup_elem(&pairs, &pk) ? WANT_FIRST : WANT_PAIR);
	}
	struct pair_found found;
	__u8 proto = p->proto;
	p->proto = first->proto;
	int j = between(p, src, dst, first->backwards, first->asked, &found);
	p->proto = proto;
	if (j == FORWARD)
		p->judged = 0;
	return j;
}

// by_ends judges a packet from what is known of its two ends.
static __noinline int by_ends(struct packet *p, __u32 length)
{
	__u32 src_slot = slot_of(p, p->src), dst_slot = slot_of(p, p->dst);
	if (!src_slot && p->direction == IN_GUEST)
		src_slot = permitted(p, p->port, 0);
	struct dest *src = dest_at(src_slot), *dst = dest_at(dst_slot);
	if (p->receiver && dst && (!is_port(dst) || dst->flags & DEST_ROUTED)) {
		dst_slot = permitted(p, p->receiver, 1);
		dst = dest_at(dst_slot);
	}
	if (!src || !dst)
		return refuse(p, MALFORMED);
	__u32 src_gen = generation(&src->gen), dst_gen = generation(&dst->gen);
	int has_src = src_slot && src->kind != DEST_NONE;
	int has_dst = dst_slot && dst->kind != DEST_NONE;

	p->src_slot = src_slot;
	p->dst_slot = dst_slot;
	if (p->direction == IN_GUEST) {
		if (spoofs(p, src))
			return refuse(p, SPOOFED_MAC);
		if (!has_src || !is_port(src) || src->port != p->port || src->flags & DEST_ROUTED)
			return refuse(p, SPOOFED_ADDRESS);
		if (p->size > p->mtu)
			return refuse(p, TOO_BIG);
		if (!has_dst)
			return unknown(p, 1);
		if (dst->kind == DEST_ROUTER)
			return p->echo == ECHO_REQUEST && !p->piece && !p->walked ? ECHO : refuse(p, TO_ROUTER);
		if (dst->flags & DEST_ROUTED) {
			int j = crossing(p, dst_slot);
			if (j != FORWARD)
				return j;
		}
	} else {
		if (!has_dst || !is_port(dst) || dst->flags & DEST_ROUTED)
			return refuse(p, NOT_HERE);
		if (to_kernel(p, dst))
			return LEAVE;
		p->port = dst->port;
		if (p->size > dst->mtu)
			return refuse(p, TOO_BIG);
		if (!has_src)
			return unknown(p, 0);
		if (src->kind == DEST_ROUTER)
			return refuse(p, SOURCE_MISMATCH);
		if (!matches(p, src))
			return lacks(p, WANT_CONFIRM);
		if (src->class != p->class && !by_foreign(p, src))
			hint(p);
	}

	if (p->about) {
		int j = about(p, src, dst);
		if (j >= 0)
			return j;
	}
	if (p->piece == LATER)
		return later(p, src, dst);

	// A live flow between the same two lives is judged by its initiator's
	// direction and keeps its state; anything else begins another.
	__u32 zero = 0, now = now_ticks(), other = beyond(p, dst), at = p->vni;
	sort(p);
	struct flow *f = seek(p), *new = bpf_map_lookup_elem(&new_flow, &zero);
	if (!new)
		return refuse(p, FLOW_TABLE_FULL);
	if (!f && other) {
		f = seek_on(p, other); // it may have begun at the other end
		at = other;
	}
	int from = p->swapped & 1, live = 0;
	if (f) {
		__builtin_memcpy(new, f, sizeof(*new));
		if (new->uid[from] != src->uid || new->uid[!from] != dst->uid) {
			bury(p, new, at);
			f = 0;
		}
	}
	if (f && !expired(new, p->proto, now)) {
		if (against(p, new))
			return refuse(p, BAD_REPLY);
		live = !opens(p, new);
	}
	struct settings *c = settings();
	if (!live && c && c->joining && !p->again)
		return lacks(p, WANT_PAIR); // its flow may not be here yet, or what answers it is not
	int backwards = live && new->initiator != from;
	__u16 asked = backwards ? p->src_port : p->asked;

	struct pair_found pair = {};
	int j = between(p, src, dst, backwards, asked, &pair);
	if (j != FORWARD)
		return j;
	p->asked = asked;
	p->backwards = backwards;
	if (p->icmp && (p->echo == NO_ECHO || (p->echo == ECHO_REPLY && !live)))
		return FORWARD; // begins no flow

	if (!live) {
		if (f)
			bury(p, new, at);
		__builtin_memset(new, 0, sizeof(*new));
		new->initiator = from;
		new->port = p->port;
		new->uid[from] = src->uid;
		new->uid[!from] = dst->uid;
		new->proto = p->proto;
		new->ports = ports_of(p);
		if ((p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			new->state = FLOW_SYN;
	}
	new->last = now;
	new->slot[from] = src_slot;
	new->slot[!from] = dst_slot;
	new->gen[from] = src_gen;
	new->gen[!from] = dst_gen;
	new->pair = pair.slot;
	new->pair_gen = pair.gen;
	new->table = p->table;
	new->rule = p->rule;
	if (live && at != p->vni)
		return join(p, new, at, length);
	touch(p, new, length, now);
	if (!live)
		return begin(p, new);
	p->judged = 0; // the rule is told once
	if (!store(p, new, BPF_EXIST)) {
		if (new->twin)
			also(p, new, length);
		return FORWARD;
	}
	new->port = p->port; // forgotten meanwhile
	new->state &= ~FLOW_CONFIRMED;
	return begin(p, new);
}

// anew judges a packet for which no flow speaks, or which is no whole one.
__noinline int anew(struct packet *p, __u32 length)
{
	if (!p)
		return DROP;
	int j = by_ends(p, length);
	if (j == FORWARD && p->piece == FIRST)
		note_piece(p);
	return j;
}

static __always_inline int judge(struct packet *p, __u32 length)
{
	int j = p->again ? -1 : known(p, length); // what comes back is judged anew
	return j < 0 ? anew(p, length) : j;
}
