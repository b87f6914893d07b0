//go:build ignore

// May this packet pass, and whither? judge answers from the flow table when all
// that the flow was judged by is still in force, and else asks endpoints, pairs
// and rules anew. It touches no packet byte.
#pragma once

int hint(struct packet *p); // report.h
int heed(struct packet *p, int passes);

#include "ends.h"
#include "route.h"
#include "begin.h"
#include "verdict.h"
#include "turn.h"
#include "related.h"
#include "ways.h"
#include "anew.h"

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
	if (dst->flags & DEST_ROUTED) {
		int j = crossing(p, to);
		if (j != FORWARD)
			return j;
	}
	if (against(p, f))
		return refuse(p, BAD_REPLY);
	if (f->state & FLOW_GUARDED * (f->initiator ^ side)) // one branch, each costs
		return -1;
	touch(p, f, length, now);
	if (f->twin) // also where it led over a router when it began
		also(p, f, length);
	p->src_slot = from;
	p->dst_slot = to;
	return FORWARD;
}

static __always_inline int judge(struct packet *p, __u32 length)
{
	int j = known(p, length);
	return j < 0 ? anew(p, length) : j;
}
