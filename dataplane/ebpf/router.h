//go:build ignore

// What a router says to a guest: the echo of its own addresses, and by toobig.h
// why a packet goes no further.
#pragma once

// instead keeps a checksum right, or as wrong as it was, when a word that it
// covers changes (RFC 1624).
static __always_inline void instead(__u8 *check, __u16 was, __u16 is)
{
	__u32 sum = (__u16)~be16(check) + (__u32)(__u16)~was + is;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~((sum >> 16) + sum);
	check[0] = sum >> 8;
	check[1] = sum;
}

// hop takes one from the TTL or hop limit.
static __always_inline int hop(struct __sk_buff *skb, struct packet *p)
{
	struct ethernet *e = (void *)(long)skb->data;
	__u8 *ip = (void *)(e + 1);

	if ((void *)ip + 20 > (void *)(long)skb->data_end)
		return 0;
	if (p->v6) {
		ip[7]--;
		return 1;
	}
	__u16 was = be16(ip + 8);
	ip[8]--;
	instead(ip + 10, was, was - 0x100);
	return 1;
}

// routed does to a packet of a guest's what a router does, and says from which MAC and
// on which network a packet over one leaves.
__noinline int routed(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return 0;
	struct route *r = route_at(p->direction == IN_GUEST ? p->dst_slot : p->src_slot);
	if (!r)
		return 0;
	if (p->direction == IN_OVERLAY) {
		p->to_vni = p->vni;
		copy_mac(p->from, r->gateway);
		return 1;
	}
	p->to_vni = r->vni;
	copy_mac(p->from, r->far);
	return hop(skb, p);
}

#define ROUTER_TTL 64

static __noinline int pong4(struct __sk_buff *skb, struct packet *p)
{
	__u8 b[20] __attribute__((aligned(4))), icmp[4];

	if (bpf_skb_load_bytes(skb, ETH_SIZE, b, sizeof(b)))
		return 0;
	__u32 at = ETH_SIZE + (b[0] & 0xf) * 4;
	__u16 was = be16(b + 8);
	b[8] = ROUTER_TTL;
	instead(b + 10, was, be16(b + 8));
	__builtin_memcpy(b + 12, &p->dst[3], 4);
	__builtin_memcpy(b + 16, &p->src[3], 4);
	if (bpf_skb_store_bytes(skb, ETH_SIZE, b, sizeof(b), 0) || bpf_skb_load_bytes(skb, at, icmp, sizeof(icmp)))
		return 0;
	was = be16(icmp);
	icmp[0] = 0;
	instead(icmp + 2, was, be16(icmp));
	return !bpf_skb_store_bytes(skb, at, icmp, sizeof(icmp), 0);
}

static __noinline int pong6(struct __sk_buff *skb, struct packet *p)
{
	__u8 b[32] __attribute__((aligned(8))), icmp[4], hops = ROUTER_TTL;

	__builtin_memcpy(b, p->dst, 16);
	__builtin_memcpy(b + 16, p->src, 16);
	if (bpf_skb_store_bytes(skb, ETH_SIZE + 8, b, sizeof(b), 0) || bpf_skb_store_bytes(skb, ETH_SIZE + 7, &hops, 1, 0))
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_SIZE + 40, icmp, sizeof(icmp)))
		return 0;
	__u16 was = be16(icmp);
	icmp[0] = 129;
	instead(icmp + 2, was, be16(icmp));
	return !bpf_skb_store_bytes(skb, ETH_SIZE + 40, icmp, sizeof(icmp), 0);
}

// pong makes the reply of an echo request to a router.
__noinline int pong(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return 0;
	struct dest *dst = dest_at(p->dst_slot);
	if (!dst || !(p->v6 ? pong6(skb, p) : pong4(skb, p)))
		return 0;
	return set_macs(skb, p->mac, dst->mac);
}

// gateway_of finds the gateway that a guest has sent a frame to.
static __noinline struct gateway *gateway_of(struct packet *p)
{
	struct gateway_key k = {.vni = p->vni};

	copy_mac(k.mac, p->to);
	return bpf_map_lookup_elem(&gateways, &k);
}

// expires reports whether a packet for an address that is not known gets no
// further than to its gateway: nobody need be asked.
static __always_inline int expires(struct packet *p)
{
	return p->nobody && p->ttl <= 1 && p->kind == KIND_IP && p->direction == IN_GUEST && !p->again && gateway_of(p);
}

// spoken makes the packet's destination the address that its gateway speaks
// from: what the guest is told comes from there. It returns 0 where the guest wrote no
// gateway's MAC, or that has no address of the family.
static __always_inline int spoken(struct packet *p)
{
	struct gateway *g = gateway_of(p);

	if (!g || !(g->has & (p->v6 ? GATEWAY_V6 : GATEWAY_V4)))
		return 0;
	__builtin_memcpy(p->dst, p->v6 ? g->addr6 : g->addr4, 16);
	return 1;
}
