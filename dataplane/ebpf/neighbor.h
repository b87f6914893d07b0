//go:build ignore

// ARP requests and neighbour solicitations are answered where they were asked,
// with what the switch knows; nothing is learnt from them.
#pragma once

struct advertisement {
	__u8 type, code;
	__be16 check;
	__be32 flags;
	__be32 target[4];
	__u8 option, option_size;
	__u8 mac[6];
} __attribute__((packed));

static __always_inline int answer_arp(struct __sk_buff *skb, const struct packet *p, const __u8 *mac)
{
	struct ethernet *e = (void *)(long)skb->data;
	struct arp *a = (void *)(e + 1);
	if ((void *)(a + 1) > (void *)(long)skb->data_end)
		return 0;
	copy_mac(e->dst, p->mac);
	copy_mac(e->src, mac);
	a->op = bpf_htons(2);
	copy_mac(a->tha, p->mac);
	__builtin_memcpy(a->tpa, &p->src[3], 4);
	copy_mac(a->sha, mac);
	__builtin_memcpy(a->spa, &p->dst[3], 4);
	return 1;
}

static __always_inline __be16 fold(__s64 sum)
{
	__u32 s = sum;
	s = (s >> 16) + (s & 0xffff);
	s = (s >> 16) + (s & 0xffff);
	return ~s;
}

static __always_inline int answer_solicitation(struct __sk_buff *skb, const struct packet *p, const __u8 *mac)
{
	struct {
		__be32 src[4], dst[4], length, next;
		struct advertisement a;
	} pseudo = {
		.length = bpf_htonl(sizeof(struct advertisement)),
		.next = bpf_htonl(PROTO_ICMPV6),
		.a = {.type = 136, .flags = bpf_htonl(0x60000000), .option = 2, .option_size = 1},
	};
	__builtin_memcpy(pseudo.src, p->dst, 16);
	__builtin_memcpy(pseudo.dst, p->src, 16);
	__builtin_memcpy(pseudo.a.target, p->dst, 16);
	__builtin_memcpy(pseudo.a.mac, mac, 6);
	pseudo.a.check = fold(bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0));

	if (bpf_skb_change_tail(skb, ETH_SIZE + sizeof(struct ipv6) + sizeof(struct advertisement), 0))
		return 0;
	struct ethernet *e = (void *)(long)skb->data;
	struct ipv6 *ip = (void *)(e + 1);
	struct advertisement *a = (void *)(ip + 1);
	if ((void *)(a + 1) > (void *)(long)skb->data_end)
		return 0;
	copy_mac(e->dst, p->mac);
	copy_mac(e->src, mac);
	ip->version = bpf_htonl(0x60000000);
	ip->payload = bpf_htons(sizeof(*a));
	ip->next = PROTO_ICMPV6;
	ip->hop_limit = 255;
	__builtin_memcpy(ip->src, p->dst, 16);
	__builtin_memcpy(ip->dst, p->src, 16);
	__builtin_memcpy(a, &pseudo.a, sizeof(*a));
	return 1;
}

static __noinline int answer(struct __sk_buff *skb, const struct packet *p, const __u8 *mac)
{
	return p->kind == KIND_ARP ? answer_arp(skb, p, mac) : answer_solicitation(skb, p, mac);
}

// claims reports whether a guest announces an address that others may have too.
static __always_inline int claims(const struct packet *p)
{
	struct permit_key k = {.prefixlen = 160, .port = p->port << 1 | p->v6};

	if (!p->announces)
		return 0;
	__builtin_memcpy(k.addr, p->src, 16);
	struct permit *a = bpf_map_lookup_elem(&permits, &k);
	return a && a->claims;
}

// neighbor judges a packet that asks for an address, and makes the answer of it.
__noinline int neighbor(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return DROP;
	__u32 slot = slot_of(p, p->dst);
	__u32 from = slot_of(p, p->src);
	int claim = claims(p); // whoever has it now

	if (!from || claim || returns(p, from))
		from = permitted(p, p->port, 0);
	struct dest *src = dest_at(from), *dst = dest_at(slot);
	// A guest probes a neighbour that it knows from its link-local address.
	int link_local = p->kind == KIND_SOLICIT && (p->src[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);

	if (!src || !dst)
		return refuse(p, MALFORMED);
	if (spoofs(p, src))
		return refuse(p, SPOOFED_MAC);
	if (!link_local && (!is_port(src) || src->flags & DEST_ROUTED || src->port != p->port))
		return refuse(p, SPOOFED_ADDRESS);
	if (claim) { // the agent is told, and nothing changes until the DPC says so
		p->want = WANT_CLAIM;
		return MISS;
	}
	if (p->announces)
		return refuse(p, NOT_UNICAST);
	if (!slot || dst->kind == DEST_NONE)
		return unknown(p, 1);
	if (is_port(dst) && dst->port == p->port)
		return refuse(p, NOT_UNICAST);
	__u8 mac[8] __attribute__((aligned(8)));
	struct route *r = dst->flags & DEST_ROUTED ? route_at(slot) : 0;
	copy_mac(mac, r ? r->gateway : dst->mac);
	return answer(skb, p, mac) ? ANSWER : refuse(p, MALFORMED);
}
