//go:build ignore

// What the table of two classes says of what a flow's initiator asked.
#pragma once

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
	if (r->allow)
		return FORWARD;
	// Its sender's host let it out: one of the two is behind, or lies.
	if (p->direction == IN_OVERLAY && !p->foreign && ps->asked != found->gen) {
		if (!p->again || p->again_want == WANT_TURN || p->again_want == WANT_FIRST) {
			p->want = WANT_DENIAL;
			return MISS;
		}
		ps->asked = found->gen;
	}
	return refuse(p, POLICY);
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
