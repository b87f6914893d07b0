//go:build ignore

// Several equal ways to an address: the next hops of a static route. Each has a
// slot of its own, and a flow remembers that of its way, so what belongs to a known
// flow comes by none of this.
#pragma once

// draw is which of so many ways a packet takes whose flow has none yet: the same in
// both directions.
static __always_inline __u32 draw(const struct packet *p, __u32 ways)
{
	return (source_port(p) & 0x3fff) * ways >> 14;
}

// ways_at is the row of a slot that has several ways.
static __always_inline struct route *ways_at(__u32 slot)
{
	struct dest *d = dest_at(slot);
	struct route *r = d && d->flags & DEST_ROUTED ? route_at(slot) : 0;
	return r && r->ways > 1 ? r : 0;
}

// way_at is one of the ways in the row of a slot, 0 if there are not so many. What looks
// at one of them is a function of its own, and what is left of it a number: so the
// verifier does not multiply the branches of all.
static __always_inline __u32 way_at(__u32 slot, __u32 i)
{
	struct route *r = route_at(slot);
	return r && i < r->ways ? r->way[i & (WAYS - 1)] : 0;
}

__noinline __u32 lives_at(__u32 slot, __u32 i, __u64 life)
{
	__u32 at = way_at(slot, i);
	struct dest *d = dest_at(at);
	return at && d && d->uid == life ? at : 0;
}

__noinline __u32 either(__u32 a, __u32 b)
{
	return a ?: b;
}

// way_of_life finds the way in the row of a slot that leads to a life of an
// endpoint, the first of them if a row is older than a port here, 0: none.
__noinline __u32 way_of_life(__u32 slot, __u64 life)
{
	__u32 found = 0;
	for (__u32 i = 0; i < WAYS; i++)
		found = either(found, lives_at(slot, i, life));
	return found;
}

#define EXPIRED (~0ull) // no life has this number

// life_on is the life that an end of the packet's flow has, under a network; 0: it has none.
__noinline __u64 life_on(struct packet *p, __u32 vni, int target)
{
	if (!p)
		return 0;
	struct flow *f = seek_on(p, vni);
	if (!f)
		return 0;
	return expired(f, p->proto, now_ticks()) ? EXPIRED : f->uid[(p->swapped ^ target) & 1];
}

// known_at is one of the ways in the row of a slot, if a port here is at its end and
// knows the packet's flow under its own network.
__noinline __u32 known_at(struct packet *p, __u32 slot, __u32 i, int target)
{
	__u32 at = way_at(slot, i);
	struct dest *d = dest_at(at);
	struct route *w = route_at(at);
	if (!p || !at || !d || !w || !is_local(d) || w->vni == p->vni)
		return 0;
	return life_on(p, w->vni, target) == d->uid ? at : 0;
}

// took finds the way in the row of a slot that the flow of a packet takes at one of its
// ends, also where it is known under the network of a way to a port here.
__noinline __u32 took(struct packet *p, __u32 slot, int target)
{
	__u32 at = 0;
	if (!p)
		return 0;
	sort(p);
	__u64 life = life_on(p, p->vni, target);
	if (life)
		return way_of_life(slot, life);
	for (__u32 i = 0; i < WAYS; i++)
		at = either(at, known_at(p, slot, i, target));
	return at;
}

// taken finds the way that a packet has to take, since its flow, its first fragment or
// what it is an error about did; 0: any.
static __always_inline __u32 taken(struct packet *p, __u32 slot, int target)
{
	if (p->piece == LATER) {
		struct piece *first = first_of(p);
		return first ? way_of_life(slot, first->uid[target & 1]) : 0;
	}
	__u32 at = 0;
	if (p->about) {
		__u16 src_port = p->src_port, dst_port = p->dst_port;
		__u8 proto = p->proto;
		p->proto = p->about_proto;
		p->src_port = p->about_src;
		p->dst_port = p->about_dst;
		at = took(p, slot, target);
		p->proto = proto;
		p->src_port = src_port;
		p->dst_port = dst_port;
	}
	return at ?: took(p, slot, target);
}

// mac_end is what of an overlay packet's inner source MAC comes back from the agent.
static __always_inline __u16 mac_end(const struct packet *p)
{
	return p->again ? be16(p->mac) : be16(p->mac + 4);
}

// rank_at says how likely an overlay packet came by one of the ways in the row of a slot,
// 0: its host did not send it. The first of equals ranks highest.
__noinline __u32 rank_at(struct packet *p, __u32 slot, __u32 i, __u32 of_flow)
{
	__u32 at = way_at(slot, i), rank = 2;
	struct route *r = route_at(slot);
	struct dest *d = dest_at(at);
	if (!p || !r || !at || !d)
		return 0;
	if (d->kind == DEST_HIDDEN)
		return WAYS + WAYS - 1 - i;
	if (!came_from(p, d))
		return 0;
	if (at == of_flow)
		rank += 8;
	if (be16(d->mac + 4) == mac_end(p))
		rank += 4;
	if (i == draw(p, r->ways))
		rank += 2;
	return rank * WAYS + WAYS - 1 - i;
}

__noinline __u32 greater(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

// way chooses one of the ways in the row of a slot: whither a guest's packet goes, or by
// which an overlay packet came, whose host sent it.
__noinline __u32 way(struct packet *p, __u32 slot)
{
	struct route *r = ways_at(slot);
	if (!p || !r)
		return slot;
	int target = p->direction == IN_GUEST;
	__u32 at = taken(p, slot, target), rank = 0;
	if (target)
		return at ?: r->way[draw(p, r->ways) & (WAYS - 1)];
	for (__u32 i = 0; i < WAYS; i++)
		rank = greater(rank, rank_at(p, slot, i, at));
	return rank ? r->way[WAYS - 1 - rank % WAYS] : slot;
}

// returns_at reports whether one of the ways in the row of a slot leads to a guest's own
// port, on its network.
__noinline int returns_at(struct packet *p, __u32 slot, __u32 i)
{
	__u32 at = i ? way_at(slot, i) : slot;
	struct dest *d = dest_at(at);
	struct route *w = route_at(at);
	return p && at && d && w && is_port(d) && d->port == p->port && w->vni == p->vni;
}

// returns reports whether the row of a slot leads to a guest's own port: then it is a next
// hop to the address, and sends from there what comes back.
__noinline int returns(struct packet *p, __u32 slot)
{
	struct dest *row = dest_at(slot);
	int own = 0;
	if (!p || !row || !(row->flags & DEST_ROUTED))
		return 0;
	for (__u32 i = 0; i < WAYS; i++)
		own |= returns_at(p, slot, i);
	return own;
}
