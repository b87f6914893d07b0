//go:build ignore

// A guest is told why its packet goes no further, in the packet's place: from the
// gateway that it was sent to, or an MTU from whom the packet was for.
#pragma once

#define QUOTE4 68 // the longest header, 8 bytes of what follows
#define QUOTE6 48

struct too_big4 {
	__u8 pad[2];
	struct ethernet e;
	__u8 version, tos;
	__be16 total, id, fragment;
	__u8 ttl, proto;
	__be16 check;
	__be32 src, dst;
	__u8 type, code;
	__be16 icmp_check, unused, mtu;
	__u8 quote[QUOTE4];
} __attribute__((packed));

struct too_big6 {
	__u8 pad[2];
	struct ethernet e;
	struct ipv6 ip;
	__u8 type, code;
	__be16 icmp_check;
	__be32 mtu;
	__u8 quote[QUOTE6];
} __attribute__((packed));

static __always_inline int to_sender(struct __sk_buff *skb, const struct ethernet *frame, __u32 size, __u32 ifindex)
{
	if (bpf_skb_change_tail(skb, size, 0) || bpf_skb_store_bytes(skb, 0, frame, size, 0))
		return SHOT;
	skb->mark = COOKIE;
	return bpf_redirect(ifindex, 0);
}

static __noinline int too_big_v4(struct __sk_buff *skb, struct packet *p, __u32 ifindex)
{
	struct too_big4 m = {.version = 0x45, .ttl = 64, .proto = PROTO_ICMP, .type = 3};
	__u8 head[24];

	if (bpf_skb_load_bytes(skb, ETH_SIZE, head, sizeof(head)) || (p->reason == TOO_BIG && !(head[6] & 0x40)))
		return SHOT;
	if (p->reason == TTL_EXPIRED)
		m.type = 11;
	else if (p->reason == NO_ENDPOINT)
		m.code = 1;
	else if (p->reason == TOO_BIG)
		m.code = 4;
	__u32 header = (head[0] & 0xf) * 4;
	if (header < 20 || bpf_skb_load_bytes(skb, ETH_SIZE, m.quote, header + 8))
		return SHOT;
	bpf_skb_load_bytes(skb, 0, m.e.src, 6);
	__builtin_memcpy(m.e.dst, p->mac, 6);
	m.e.type = ETH_IPV4;
	m.total = bpf_htons(header + 36);
	m.fragment = bpf_htons(0x4000);
	m.src = p->dst[3];
	m.dst = p->src[3];
	m.check = fold(bpf_csum_diff(0, 0, (void *)&m.version, 20, 0));
	if (p->reason == TOO_BIG)
		m.mtu = bpf_htons(p->mtu);
	m.icmp_check = fold(bpf_csum_diff(0, 0, (void *)&m.type, header + 16, 0));
	return to_sender(skb, &m.e, header + ETH_SIZE + 36, ifindex);
}

static __noinline int too_big_v6(struct __sk_buff *skb, struct packet *p, __u32 ifindex)
{
	struct too_big6 m = {.ip = {.version = bpf_htonl(0x60000000), .payload = bpf_htons(QUOTE6 + 8), .next = PROTO_ICMPV6, .hop_limit = 64}};
	__be32 pseudo[2] = {bpf_htonl(QUOTE6 + 8), bpf_htonl(PROTO_ICMPV6)};

	if (bpf_skb_load_bytes(skb, ETH_SIZE, m.quote, QUOTE6))
		return SHOT;
	m.type = p->reason == TOO_BIG ? 2 : p->reason == TTL_EXPIRED ? 3 : 1;
	if (p->reason == NO_ENDPOINT)
		m.code = 3;
	bpf_skb_load_bytes(skb, 0, m.e.src, 6);
	__builtin_memcpy(m.e.dst, p->mac, 6);
	m.e.type = ETH_IPV6;
	__builtin_memcpy(m.ip.src, p->dst, 16);
	__builtin_memcpy(m.ip.dst, p->src, 16);
	if (p->reason == TOO_BIG)
		m.mtu = bpf_htonl(p->mtu);
	__s64 sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, m.ip.src, 32, sum);
	m.icmp_check = fold(bpf_csum_diff(0, 0, (void *)&m.type, QUOTE6 + 8, sum));
	return to_sender(skb, &m.e, sizeof(m) - sizeof(m.pad), ifindex);
}

// TOLD are the reasons that a guest is told.
#define TOLD (1ULL << TOO_BIG | 1ULL << NO_ENDPOINT | 1ULL << NO_ROUTE | 1ULL << TTL_EXPIRED)

__noinline int told(struct __sk_buff *skb, struct packet *p, __u32 ifindex)
{
	if (!p || p->kind != KIND_IP || p->piece == LATER || (p->icmp && p->echo == NO_ECHO))
		return SHOT; // no errors about errors
	if (spoken(p)) {
		__u32 port = p->port & 0xffff;
		struct port_state *s = bpf_map_lookup_elem(&port_states, &port);
		struct settings *c = settings();
		if (!c || !s || !paced(&s->told_at, c->miss_interval, c->miss_burst))
			return SHOT;
	} else if (p->reason != TOO_BIG) {
		return SHOT;
	}
	return p->v6 ? too_big_v6(skb, p, ifindex) : too_big_v4(skb, p, ifindex);
}
