//go:build ignore

// What the tables of two classes say of what a flow's initiator asked, and of what
// answers it.
#pragma once

// What is asked: a pair's table, in the direction of the flow's initiator. What
// passes by a flow and did not begin it, answers, is held against the table of its
// own direction as well where an end of the pair keeps no state.
struct question {
	struct pair_key pair;
	__u16 asked, own;
	__u8 proto, own_proto;
	__u8 answers, backwards;

	// Of the packet's flow, as it was found: the network that it is under, whether there
	// is an entry, and whether that is the packet's.
	__u32 src_gen, dst_gen;
	__u32 at;
	__u8 held, live;

	__u32 slot, gen; // of the pair whose table said so
	__u8 alone;      // an end of it keeps no state
	__u8 by_own;     // it was the table of the packet's own direction
	__u16 would;     // of the rule, as says and mark
	__u32 mark, told; // told: what was told of the flow
	__u8 says;
	__u8 tells; // of what flows begin by

	struct rule_key key; // of it
};

// Room for it: the stack has none.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct question);
	__uint(max_entries, 1);
} asking SEC(".maps");

static __always_inline struct question *question(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&asking, &zero);
}

// row finds what a table says.
static __noinline struct rule *row(struct packet *p, struct question *q, int own)
{
	struct pair_key k = q->pair;
	if (own && q->backwards) {
		k.src = q->pair.dst;
		k.dst = q->pair.src;
	}
	q->says = 0;
	__u32 *at = bpf_map_lookup_elem(&pairs, &k);
	if (!at)
		return 0;
	__u32 pair = *at;
	struct pair_slot *ps = bpf_map_lookup_elem(&pair_slots, &pair);
	if (!ps)
		return 0;
	q->slot = pair;
	q->gen = generation(&ps->gen);
	q->by_own = own;
	if (!own)
		q->alone = ps->flags & PAIR_ALONE;
	p->table = ps->table;
	if (!p->table)
		return 0;
	__u16 asked = own ? q->own : q->asked;
	q->key.prefixlen = 56;
	q->key.table = bpf_htonl(p->table);
	q->key.proto = own ? q->own_proto : q->proto;
	q->key.port[0] = asked >> 8;
	q->key.port[1] = asked;
	struct rule *r = bpf_map_lookup_elem(&rules, &q->key);
	if (!r)
		return 0;
	p->judged = 1;
	p->rule = r->id;
	q->says = r->says;
	q->would = r->would;
	q->mark = r->mark;
	return r;
}

// verdict asks the table of a pair. It returns FORWARD where it allows; by_own
// says then that the packet would not pass by its flow, but does as the first of another.
__noinline int verdict(struct packet *p, struct question *q)
{
	if (!p || !q)
		return DROP;
	struct rule *r = row(p, q, 0);
	if (!r)
		return lacks(p, WANT_PAIR);
	int allow = r->allow;
	if (q->answers && q->alone) {
		r = row(p, q, 1);
		if (!r)
			return lacks(p, WANT_PAIR);
		if (r->says & RULE_NO_REPLY)
			allow = 0;
		else if (r->allow && !allow)
			allow = 1;
		else if (!row(p, q, 0))
			return lacks(p, WANT_PAIR);
	}
	if (allow)
		return FORWARD;
	// Its sender's host let it out: one of the two is behind, or lies.
	struct pair_slot *ps = bpf_map_lookup_elem(&pair_slots, &q->slot);
	if (ps && p->direction == IN_OVERLAY && !p->foreign && ps->asked != q->gen) {
		if (!p->again || p->again_want == WANT_TURN || p->again_want == WANT_FIRST) {
			p->want = WANT_DENIAL;
			return MISS;
		}
		ps->asked = q->gen;
	}
	return refuse(p, POLICY);
}

// between asks the tables of two ends' classes about what the packet is, in the
// direction of its flow or, backwards, in the other one.
__noinline int between(struct packet *p, const struct dest *src, const struct dest *dst, int backwards)
{
	struct question *q = question();

	if (!p || !src || !dst || !q)
		return DROP;
	q->backwards = backwards;
	q->pair.domain = p->domain;
	q->pair.src = backwards ? dst->class : src->class;
	q->pair.dst = backwards ? src->class : dst->class;
	int j = verdict(p, q);
	p->backwards = backwards && !q->by_own;
	if (j == FORWARD && (src->kind == DEST_HIDDEN || dst->kind == DEST_HIDDEN))
		return refuse(p, HIDDEN);
	if (j == FORWARD && dst->kind == DEST_HERE)
		return refuse(p, NOT_HERE);
	// It is told by the switch that has the flow's initiator, or, where that is behind
	// a foreign VTEP, by the one that it asks; of a live flow once. What the initiator
	// sends from elsewhere while it moves is told there.
	const struct dest *initiator = p->backwards ? dst : src;
	int here = is_port(initiator) && (p->backwards || p->direction != IN_OVERLAY);
	if (!q->tells || j == MISS || (j == FORWARD && !q->by_own && q->mark == q->told) || !(here || initiator->flags & DEST_FOREIGN))
		q->says = 0;
	p->said = q->says & RULE_TOLD;
	return j;
}
