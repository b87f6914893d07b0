//go:build ignore

// What a router between networks does to a packet of a guest's, which is the
// switch of its sender: the receiver's only tells where it came from. And the
// second entry of a flow between two local ports on different networks.
#pragma once

static __always_inline struct route *route_at(__u32 slot)
{
	return bpf_map_lookup_elem(&routes, &slot);
}

// crossing judges whether a guest's packet may go over the router that leads to
// the destination in a slot.
__noinline int crossing(struct packet *p, __u32 slot)
{
	if (!p)
		return DROP;
	struct route *r = route_at(slot);
	if (!r)
		return refuse(p, MALFORMED);
	if (p->ttl <= 1)
		return refuse(p, TTL_EXPIRED);
	if (r->mtu && p->size > r->mtu) {
		p->mtu = r->mtu; // it is told
		return refuse(p, TOO_BIG);
	}
	return FORWARD;
}

// beyond is the other network of a flow between two local ports, 0 if it has none.
static __always_inline __u32 beyond(const struct packet *p, const struct dest *dst)
{
	if (!(dst->flags & DEST_ROUTED) || !is_local(dst))
		return 0;
	struct route *r = route_at(p->dst_slot);
	return r && r->vni != p->vni ? r->vni : 0;
}

// seek_on finds the packet's flow under another network.
static __always_inline struct flow *seek_on(struct packet *p, __u32 vni)
{
	__u32 own = p->vni;
	p->vni = vni;
	struct flow *f = seek(p);
	p->vni = own;
	return f;
}

// also has the other entry of a flow say what the one that a packet was found
// under does. One that names no other was stored from a copy of before join named
// this one, on another CPU.
__noinline int also(struct packet *p, const struct flow *f, __u32 length)
{
	if (!p || !f)
		return 0;
	struct flow *twin = seek_on(p, f->twin);
	if (!twin)
		return 0;
	if (!twin->twin && twin->uid[0] == f->uid[0] && twin->uid[1] == f->uid[1])
		twin->twin = p->vni;
	if (twin->twin != p->vni)
		return 0;
	if (twin->table != f->table || twin->rule != f->rule) {
		twin->table = f->table;
		twin->rule = f->rule;
		twin->mark = f->mark;
		twin->pair_gen = 0; // what its own next packet is judged by may be another
	}
	touch(p, twin, length, now_ticks());
	return 0;
}

// bury forgets a flow, found under a network, with its other entry. copy is what it was.
__noinline int bury(struct packet *p, const struct flow *copy, __u32 vni)
{
	if (!p || !copy)
		return 0;
	__u32 own = p->vni;

	p->vni = vni;
	forget(p, copy->port, copy->state);
	if (copy->twin) {
		p->vni = copy->twin;
		struct flow *twin = seek(p);
		if (twin && twin->twin == vni)
			forget(p, twin->port, twin->state);
	}
	p->vni = own;
	return 0;
}
