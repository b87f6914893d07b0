//go:build ignore

// Where a judged packet goes: into a port, through the tunnel, or to the agent.
// These change the packet, so no pointer into it survives them.
#pragma once

#define PASS 0 // TC_ACT_OK
#define COOKIE 0xd07e0001      // skb->mark of what the switch sends into a guest port
#define WIRE_COOKIE 0xd07e0002 // skb->mark of what wire_in leaves to the kernel's decapsulation
#define BACK 2                 // in the second byte of what goes to the agent: it was given back once

#define OVERLAY_PORT 4789
#define APPLIED 0x08 // of flags2: who sent it has judged it
#define DECAP_L3_IPV4 (1ULL << 7) // Linux 6.3
#define DECAP_L3_IPV6 (1ULL << 8)

struct ethernet {
	__u8 dst[6];
	__u8 src[6];
	__be16 type;
} __attribute__((packed));

struct ipv4 {
	__u8 version, tos;
	__be16 total, id, fragment;
	__u8 ttl, proto;
	__be16 check;
	__be32 src, dst;
} __attribute__((packed));

struct ipv6 {
	__be32 version;
	__be16 payload;
	__u8 next, hop_limit;
	__be32 src[4], dst[4];
} __attribute__((packed));

// overlay is what follows the outer IP header.
struct overlay {
	__be16 src_port, dst_port, udp_length, udp_check;
	__u8 flags, flags2;
	__be16 class;
	__be32 vni;
} __attribute__((packed));

#include "trunk.h"

static __always_inline int set_macs(struct __sk_buff *skb, const __u8 *dst, const __u8 *src)
{
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end)
		return 0;
	copy_mac(e->dst, dst);
	copy_mac(e->src, src);
	return 1;
}

// into sends a plain Ethernet frame into a local port.
static __always_inline int into(struct __sk_buff *skb, const struct dest *dst, int tap)
{
	if (!tap) {
		if (skb->pkt_type)
			bpf_skb_change_type(skb, 0); // it was for another host as the host end saw it
		return bpf_redirect_peer(dst->ifindex, 0);
	}
	skb->mark = COOKIE;
	return bpf_redirect(dst->ifindex, 0);
}

// into_tagged sends one into a local port that is one of several of its device.
__noinline int into_tagged(struct __sk_buff *skb, struct dest *dst)
{
	if (!dst || !tag(skb, dst->vlan))
		return SHOT;
	return into(skb, dst, dst->flags & DEST_ON_TAP);
}

// sum adds the constant words of the outer IPv4 header and the given ones.
static __always_inline __be16 outer_check(__u8 tos, __be16 total, __be32 src, __be32 dst)
{
	__u32 s = bpf_htons(0x4500 | tos) + bpf_htons(0x4000) + bpf_htons(0x4011) + total;
	s += (src & 0xffff) + (src >> 16) + (dst & 0xffff) + (dst >> 16);
	s = (s >> 16) + (s & 0xffff);
	return ~((s >> 16) + s);
}

// underlay sends an encapsulated packet. The kernel finds the MAC of the next
// hop, and keeps it found; the next hop itself is known, or it would look for a
// route each time.
static __always_inline int underlay(const struct settings *c, const struct dest *dst)
{
	struct bpf_redir_neigh hop = {.nh_family = outer6 ? 10 /* AF_INET6 */ : 2 /* AF_INET */};
	__u32 known = outer6 ? dst->hop[0] : dst->hop[3]; // neither is 0 of an address

	if (outer6)
		__builtin_memcpy(hop.ipv6_nh, dst->hop, 16);
	else
		hop.ipv4_nh = known;
	return bpf_redirect_neigh(c->underlay, known ? &hop : 0, known ? sizeof(hop) : 0, 0);
}

// tunnel encapsulates.
static __always_inline int tunnel(struct __sk_buff *skb, struct packet *p, const struct dest *src, const struct dest *dst, const __u8 *from, __u32 vni)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (outer6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) |
			    BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_SIZE) |
			    BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	__u32 total = skb->len - ETH_SIZE + OUTER_SIZE, length = skb->len;
	struct settings *c = settings();

	if (!c || total > 0xffff || bpf_skb_adjust_room(skb, OUTER_SIZE, BPF_ADJ_ROOM_MAC, flags))
		return drop_for(p, length, ENCAP_FAILED);
	void *data = (void *)(long)skb->data;
	struct ethernet *inner = data + OUTER_SIZE, *first = data;
	struct overlay *o = (void *)inner - sizeof(*o);
	if ((void *)(inner + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, ENCAP_FAILED);
	copy_mac(inner->dst, dst->mac);
	copy_mac(inner->src, from);
	inner->type = p->v6 ? ETH_IPV6 : ETH_IPV4;
	__u8 tos = c->dscp == COPY_DSCP ? p->tos : (c->dscp | (p->tos & ECN));
	__u16 port = source_port(p);
	if (outer6) {
		struct ipv6 *ip = data + ETH_SIZE;
		total -= sizeof(*ip);
		first->type = ETH_IPV6;
		ip->version = bpf_htonl(6u << 28 | (__u32)tos << 20 | port); // the flow's label (RFC 6438)
		ip->payload = bpf_htons(total);
		ip->next = PROTO_UDP;
		ip->hop_limit = 64;
		__builtin_memcpy(ip->src, c->vtep, 16);
		__builtin_memcpy(ip->dst, dst->vtep, 16);
	} else {
		struct ipv4 *ip = data + ETH_SIZE;
		first->type = ETH_IPV4;
		ip->version = 0x45;
		ip->tos = tos;
		ip->total = bpf_htons(total);
		ip->id = 0;
		ip->fragment = bpf_htons(0x4000);
		ip->ttl = 64;
		ip->proto = PROTO_UDP;
		ip->src = c->vtep[3];
		ip->dst = dst->vtep[3];
		ip->check = outer_check(ip->tos, ip->total, ip->src, ip->dst);
		total -= sizeof(*ip);
	}
	o->src_port = bpf_htons(port);
	o->dst_port = bpf_htons(OVERLAY_PORT);
	o->udp_length = bpf_htons(total);
	o->udp_check = 0; // over IPv6 too (RFC 6935)
	o->flags = 0x88;
	o->flags2 = p->direction == IN_OVERLAY ? APPLIED : 0; // it was for a port that is on standby here
	o->class = bpf_htons(src->class);
	o->vni = bpf_htonl(vni << 8);
	if (dst->flags & DEST_PLAIN && !o->flags2) {
		o->flags = 0x08;
		o->class = 0;
	}
	return underlay(c, dst);
}

#include "router.h"

// forward sends a frame without outer headers where its judgement says.
static __always_inline int forward(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	struct dest *src = dest_at(p->src_slot), *dst = dest_at(p->dst_slot);
	if (!src || !dst)
		return drop_for(p, length, MALFORMED);
	const __u8 *from = src->mac;
	__u32 vni = p->vni;
	if ((src->flags | dst->flags) & DEST_ROUTED) {
		if (!routed(skb, p))
			return drop_for(p, length, MALFORMED);
		from = p->from;
		vni = p->to_vni;
		if (src->lent && p->direction == IN_GUEST && !is_local(dst))
			from = src->mac; // it says by which way, see way
	}
	if (dst->kind == DEST_REMOTE || dst->kind == DEST_STANDBY) {
		tell(p, TUNNELED, src, dst);
		return tunnel(skb, p, src, dst, from, vni);
	}
	if (!is_local(dst)) // taken away since it was judged
		return drop_for(p, length, NO_ENDPOINT);
	if (!set_macs(skb, dst->mac, from))
		return drop_for(p, length, MALFORMED);
	tell(p, DELIVERED, src, dst);
	if (dst->kind == DEST_TAGGED)
		return into_tagged(skb, dst);
	return into(skb, dst, dst->kind == DEST_TAP);
}

// mark hands the underlay's mark of congestion on to the inner frame at offset
// at, as the kernel's decapsulation does (RFC 6040).
__noinline int mark(struct __sk_buff *skb, struct packet *p, __u32 at)
{
	__u8 head[12];
	at += ETH_SIZE;
	if (!p || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	if (p->v6) {
		head[1] |= ECN << 4;
		return !bpf_skb_store_bytes(skb, at, head, 2, BPF_F_RECOMPUTE_CSUM);
	}
	__u32 was = be16(head), check = (__u16)~be16(head + 10);
	head[1] |= ECN;
	check += (__u16)~was + be16(head);
	check = (check >> 16) + (check & 0xffff);
	check = ~((check >> 16) + check);
	head[10] = check >> 8;
	head[11] = check;
	return !bpf_skb_store_bytes(skb, at, head, sizeof(head), 0);
}

// hand_on sends an overlay packet whose receiver is on standby here to where it
// is active, in the outer headers that it came in: what has been decapsulated by
// bpf_skb_adjust_room cannot be encapsulated again (EALREADY).
__noinline int hand_on(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	if (!p)
		return SHOT;
	struct dest *src = dest_at(p->src_slot), *dst = dest_at(p->dst_slot);
	struct settings *c = settings();
	__u8 tos = p->tos;

	if (!c || !src || !dst || dst->kind != DEST_STANDBY)
		return drop_for(p, length, NO_ENDPOINT); // taken away since it was judged
	const __u8 *from = src->mac;
	if (src->flags & DEST_ROUTED) {
		if (!routed(skb, p))
			return drop_for(p, length, NO_ENDPOINT);
		from = p->from;
	}
	if ((p->outer_tos & ECN) == ECN) {
		if (!mark(skb, p, OUTER_SIZE))
			return drop_for(p, length, ENCAP_FAILED);
		tos |= ECN;
	}
	void *data = (void *)(long)skb->data;
	struct ethernet *inner = data + OUTER_SIZE;
	struct overlay *o = (void *)inner - sizeof(*o);
	if ((void *)(inner + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, ENCAP_FAILED);
	copy_mac(inner->dst, dst->mac);
	copy_mac(inner->src, from);
	tos = c->dscp == COPY_DSCP ? tos : (c->dscp | (tos & ECN));
	if (outer6) {
		struct ipv6 *ip = data + ETH_SIZE;
		__u32 label = bpf_ntohl(ip->version) & 0xfffff;
		ip->version = bpf_htonl(6u << 28 | (__u32)tos << 20 | label);
		ip->hop_limit = 64;
		__builtin_memcpy(ip->src, c->vtep, 16);
		__builtin_memcpy(ip->dst, dst->vtep, 16);
	} else {
		struct ipv4 *ip = data + ETH_SIZE;
		ip->tos = tos;
		ip->id = 0;
		ip->fragment = bpf_htons(0x4000);
		ip->ttl = 64;
		ip->src = c->vtep[3];
		ip->dst = dst->vtep[3];
		ip->check = outer_check(ip->tos, ip->total, ip->src, ip->dst);
	}
	o->udp_check = 0;
	o->flags = 0x88; // from a foreign VTEP it came without group id
	o->flags2 = APPLIED;
	o->class = bpf_htons(src->class);
	tell(p, TUNNELED, src, dst);
	return underlay(c, dst);
}

// unwrap takes the outer headers off and delivers to a local port.
static __always_inline int unwrap(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	struct dest *src = dest_at(p->src_slot), *dst = dest_at(p->dst_slot);
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (p->v6 ? DECAP_L3_IPV6 : DECAP_L3_IPV4);

	if (!src || !dst)
		return drop_for(p, length, MALFORMED);
	if (!is_local(dst))
		return hand_on(skb, p, length);
	const __u8 *from = src->mac;
	if (src->flags & DEST_ROUTED) {
		if (!routed(skb, p))
			return drop_for(p, length, NO_ENDPOINT);
		from = p->from;
	}
	if (bpf_skb_adjust_room(skb, -OUTER_SIZE, BPF_ADJ_ROOM_MAC, flags))
		return drop_for(p, length, ENCAP_FAILED);
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, ENCAP_FAILED);
	copy_mac(e->dst, dst->mac);
	copy_mac(e->src, from);
	e->type = p->v6 ? ETH_IPV6 : ETH_IPV4;
	if ((p->outer_tos & ECN) == ECN && !mark(skb, p, 0))
		return drop_for(p, length, ENCAP_FAILED);
	tell(p, DELIVERED, src, dst);
	if (dst->kind == DEST_TAGGED)
		return into_tagged(skb, dst);
	return into(skb, dst, dst->kind == DEST_TAP);
}

// ask sends a packet to the agent with what it needs to come back written over
// its MACs: the destination says direction, whether it has been there before (BACK), port, want and the port's life,
// and from the overlay the source says its own two last bytes, which VTEP and which class.
__noinline int ask(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	if (!p)
		return SHOT;
	__u32 port = p->port & 0xffff;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port);
	struct settings *c = settings();
	__u32 vtep = 0;

	if (!c || !s)
		return drop_for(p, length, MISS_LIMIT);
	__u64 burst = c->miss_burst;
	if (p->want == WANT_FIRST || p->want == WANT_DENIAL)
		burst /= 4; // a peer that policy forbids can send these too
	if (!paced(&s->miss_at[p->direction == IN_OVERLAY], c->miss_interval, burst))
		return drop_for(p, length, MISS_LIMIT);
	if (p->direction == IN_OVERLAY) {
		struct vtep *at = bpf_map_lookup_elem(&vteps, p->vtep);
		if (!at)
			return drop_for(p, length, UNKNOWN_VTEP);
		vtep = at->number;
	}
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, MALFORMED);
	__u8 dst[6] = {0x02, 0xd0 + p->direction + (p->again ? BACK : 0), port >> 8, port, p->want, s->life};
	__builtin_memcpy(e->dst, dst, 6);
	if (p->direction == IN_OVERLAY) {
		__u16 end = mac_end(p);
		__u8 src[6] = {end >> 8, end, vtep >> 8, vtep, p->class >> 8, p->class};
		__builtin_memcpy(e->src, src, 6);
	}
	queue(p);
	tell(p, MISSED, 0, 0);
	return bpf_redirect(c->up, 0);
}
