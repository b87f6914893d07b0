//go:build ignore

// The two ends of a packet: what a slot says of an address, whether a packet is
// from there, and what becomes of it where something is lacking.
#pragma once

enum judgement {
	FORWARD, // from src_slot to dst_slot
	DROP,    // for reason
	MISS,    // for want
	LEAVE,   // to the kernel's decapsulation
	ANSWER,  // back to the port, it is the answer now
	ECHO,    // an echo request to a router
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
	return d->kind == DEST_VETH || d->kind == DEST_TAP || d->kind == DEST_TAGGED;
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
	if (target && d->lent == LENT_SEVERAL)
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
	if (!p->wire || dst->kind == DEST_VETH || dst->kind == DEST_STANDBY || !(dst->flags & DEST_ON_TAP))
		return 0;
	return p->wire == WIRE_MERGED ||
	       (p->proto == PROTO_TCP && (p->size > p->headers || p->tcp & (TCP_FIN | TCP_RST) || p->piece));
}
