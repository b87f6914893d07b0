//go:build ignore

// A packet that no flow speaks for is judged from its two ends, their classes and
// rules, and what allows it begins or renews its flow.
#pragma once

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

// end_at is what is at an address, of several ways the one to a life.
static __noinline struct dest *end_at(__u32 vni, const __be32 *addr, __u64 life)
{
	struct endpoint_key k = {.vni = vni};
	__builtin_memcpy(k.addr, addr, 16);
	__u32 *at = bpf_map_lookup_elem(&endpoints, &k);
	struct dest *d = at ? dest_at(*at) : 0;
	if (!at || !ways_at(*at))
		return d;
	__u32 to = way_of_life(*at, life);
	return to ? dest_at(to) : 0;
}

// find_ends finds the slots of a packet's ends: of several ways, the one that it takes.
__noinline int find_ends(struct packet *p)
{
	if (!p)
		return 0;
	__u32 src_slot = slot_of(p, p->src), dst_slot = slot_of(p, p->dst);
	if (p->direction == IN_GUEST) {
		if (!src_slot || returns(p, src_slot))
			src_slot = permitted(p, p->port, 0);
		dst_slot = way(p, dst_slot);
	} else {
		struct dest *dst = dest_at(dst_slot);
		if (p->receiver && dst && (!is_port(dst) || dst->flags & DEST_ROUTED))
			dst_slot = permitted(p, p->receiver, 1);
		src_slot = way(p, src_slot);
	}
	p->src_slot = src_slot;
	p->dst_slot = dst_slot;
	return 0;
}

// settle has the flow of a packet that passes begin, or go on: what question says of
// it is as by_ends found it.
__noinline int settle(struct packet *p, const struct dest *src, const struct dest *dst, __u32 length)
{
	__u32 zero = 0, now = now_ticks();
	struct flow *new = bpf_map_lookup_elem(&new_flow, &zero);
	struct question *q = question();
	if (!p || !src || !dst || !new || !q)
		return DROP;
	int from = p->swapped & 1, live = q->live & !q->by_own;
	if (p->icmp && (p->echo == NO_ECHO || (p->echo == ECHO_REPLY && !live)))
		return FORWARD; // begins no flow

	if (!live) {
		if (q->held)
			bury(p, new, q->at);
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
	new->slot[from] = p->src_slot;
	new->slot[!from] = p->dst_slot;
	new->gen[from] = p->stale ? STALE : q->src_gen;
	new->gen[!from] = p->stale ? STALE : q->dst_gen;
	new->pair = q->slot;
	new->pair_gen = q->gen;
	new->table = p->table;
	new->rule = p->rule;
	new->mark = q->mark;
	new->state = (new->state & ~FLOW_GUARDED) | FLOW_GUARDED * (q->alone & !p->backwards);
	if (live && q->at != p->vni)
		return join(p, new, q->at, length);
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

// by_ends judges a packet from what is known of its two ends.
static __noinline int by_ends(struct packet *p, __u32 length)
{
	__u32 src_slot = p->src_slot, dst_slot = p->dst_slot;
	p->said = 0;
	struct dest *src = dest_at(src_slot), *dst = dest_at(dst_slot);
	if (!src || !dst)
		return refuse(p, MALFORMED);
	__u32 src_gen = generation(&src->gen), dst_gen = generation(&dst->gen);
	int has_src = src_slot && src->kind != DEST_NONE;
	int has_dst = dst_slot && dst->kind != DEST_NONE;

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
	// What waits between the two is overtaken by nothing but flows that have no
	// packet there. One of another flow begins it stale, so that its next are not known.
	int waits = behind(p), joins = !live || new->gen[0] == STALE;
	if (waits && joins && !p->again)
		return lacks(p, WANT_TURN);
	p->stale = p->again || (p->stale && joins);
	struct settings *c = settings();
	if (!live && c && c->joining && !p->again)
		return lacks(p, WANT_PAIR); // its flow may not be here yet, or what answers it is not
	int backwards = live && new->initiator != from;
	struct question *q = question();
	if (!q)
		return DROP;
	q->asked = backwards ? p->src_port : p->asked;
	q->own = p->asked;
	q->proto = q->own_proto = p->proto;
	q->answers = backwards;
	q->told = live ? new->mark : 0;
	q->tells = 1;
	q->src_gen = src_gen;
	q->dst_gen = dst_gen;
	q->at = at;
	q->held = f != 0;
	q->live = live;
	int j = between(p, src, dst, backwards);
	if (j != FORWARD)
		return j;
	return settle(p, src, dst, length);
}

// anew judges a packet for which no flow speaks, or which is no whole one.
__noinline int anew(struct packet *p, __u32 length)
{
	if (!p)
		return DROP;
	find_ends(p);
	int j = by_ends(p, length);
	if (j == FORWARD && p->piece == FIRST)
		note_piece(p);
	if (p->said && (j == FORWARD || (j == DROP && p->reason == POLICY)))
		heed(p, j == FORWARD);
	return j;
}
