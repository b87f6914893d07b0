//go:build ignore

// One packet while it is judged: what its headers say (parse), what is known of
// it, and what was decided.
#pragma once

#define ETH_SIZE 14

// Constant after load: 1 where the underlay is IPv6. What the other family needs
// is no part of the programs then.
volatile const __u8 outer6 = 0;

#define OUTER_SIZE (outer6 ? 70 : 50) // IP, UDP, VXLAN, inner Ethernet

#define ETH_IPV4 bpf_htons(0x0800)
#define ETH_ARP bpf_htons(0x0806)
#define ETH_IPV6 bpf_htons(0x86dd)

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAGMENT 44 // IPv6
#define PROTO_ICMPV6 58
#define PROTO_SCTP 132

#define ECN 3 // of a TOS; both bits: the way is congested

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

// The numbers are dataplane.Reason's; a test compares them.
enum reason {
	NOT_DROPPED, MALFORMED, NO_PORT, SPOOFED_MAC, SPOOFED_ADDRESS, NOT_UNICAST, NOT_IP,
	FRAGMENT, EXTENSION_HEADER, TOO_BIG, NO_ENDPOINT, HIDDEN, POLICY, UNKNOWN_VTEP,
	UNKNOWN_NETWORK, NOT_HERE, SOURCE_MISMATCH, BAD_OVERLAY, MISS_LIMIT, HOLD_LIMIT,
	FLOW_TABLE_FULL, FLOW_BUDGET, BAD_REPLY, UNDERLAY, ENCAP_FAILED, NOT_SWITCHED,
	CONGESTED, ERROR_LIMIT, NO_ROUTE, TTL_EXPIRED, TO_ROUTER,
};

// dataplane.Want and dataplane.Action.
enum want { WANT_PEER, WANT_PAIR, WANT_CONFIRM, WANT_FIRST, WANT_CLAIM };
enum action { DROPPED, DELIVERED, TUNNELED, ANSWERED, MISSED, PASSED };

enum packet_kind { KIND_IP, KIND_ARP, KIND_SOLICIT };
enum packet_piece { WHOLE, FIRST, LATER };
enum packet_echo { NO_ECHO, ECHO_REQUEST, ECHO_REPLY };

enum packet_wire { UNWRAPPED, WIRE_SINGLE, WIRE_MERGED }; // before the kernel's decapsulation: one packet, or several merged

struct packet {
	// parse
	__be32 src[4], dst[4]; // ARP and solicitation: sender and target
	__u16 src_port, dst_port;
	__u16 asked;   // what rules are asked: destination port or type<<8|code
	__u16 headers; // bytes of Ethernet payload before the transport's payload
	__u8 v6, proto, kind, echo;
	__u8 tcp, icmp, sender_differs;
	__u8 announces; // it says that its sender has an address
	union {
		__u8 mac[6];  // Ethernet source
		__u8 from[6]; // over a router, once it goes: the MAC that it leaves from
	};
	__u8 tos;      // DSCP << 2 | ECN
	__u8 piece;    // packet_piece
	__u8 about_proto; // if about: an ICMP error is about this flow, in the error's direction
	__u16 about_src, about_dst;
	__u32 piece_id;
	__s16 walked;  // bytes of IPv6 extension headers, or less than 0: -reason
	__u8 after;    // the protocol after them
	__u8 about;
	__u8 ttl;       // IPv6: the hop limit
	__u8 outer_tos; // entry: of the overlay's header, if the kernel has not dealt with it
	__u8 hinted;    // decision: the group id is not the source's class
	__u8 foreign;   // entry: it came by a foreign VTEP

	// entry
	__u32 vni;
	union {
		__u32 domain;
		__u32 to_vni; // over a router, once it goes: the network that it leaves on
	};
	__u32 port;
	__u32 size;     // of Ethernet's payload, or of one segment's
	__be32 vtep[4]; // outer source
	__u16 class;    // group id of the overlay header
	__u8 direction; // IN_GUEST, IN_OVERLAY
	union {
		__u8 wire;   // packet_wire, from the overlay
		__u8 nobody; // from a guest: it is not known who has the destination
	};
	__u8 again;     // re-injected
	__u8 again_want;
	__u8 swapped;   // the source is the flow's hi
	union {
		__u8 applied;   // from the overlay: another host says that it has judged it
		__u8 other_mac; // from a guest: its source is not the port's own MAC
	};

	// decision
	__u8 reason, want, judged, backwards; // backwards: it answers its flow's initiator
	__u16 rule;
	__u16 mtu;
	union {
		__u32 table;
		__u32 l4_size; // parse: of IP's payload, without extension headers
	};
	__u32 src_slot, dst_slot;
	__u8 to[6];     // parse: Ethernet destination
	__u16 receiver; // the port that has it
};

// Room for the packet that comes back from the agent, and for
// the one that the kernel has decapsulated.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct packet);
	__uint(max_entries, 2);
} again SEC(".maps");

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 op;
	__u8 sha[6];
	__u8 spa[4];
	__u8 tha[6];
	__u8 tpa[4];
} __attribute__((packed));

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b && *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

static __always_inline __u32 word(const void *p)
{
	const __u16 *h = p;
	return h[0] | (__u32)h[1] << 16;
}

static __always_inline __u16 be16(const void *p)
{
	return bpf_ntohs(*(const __u16 *)p);
}

static __always_inline void map4(__be32 *to, __be32 addr)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = addr;
}

static __always_inline void copy16(__be32 *to, const void *from)
{
	const __u8 *f = from;
#pragma unroll
	for (int i = 0; i < 4; i++)
		to[i] = word(f + 4 * i);
}

static __always_inline int mapped(const __be32 *a)
{
	return !a[0] && !a[1] && a[2] == bpf_htonl(0xffff);
}

static __always_inline int same16(const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline int parse_arp(struct packet *p, void *l3, void *end)
{
	struct arp *a = l3;
	if ((void *)(a + 1) > end)
		return MALFORMED;
	if (a->hardware != bpf_htons(1) || a->protocol != ETH_IPV4 || a->hardware_len != 6 || a->protocol_len != 4)
		return MALFORMED;
	p->kind = KIND_ARP;
	p->sender_differs = !same_mac(a->sha, p->mac);
	map4(p->src, word(a->spa));
	map4(p->dst, word(a->tpa));
	p->announces = p->src[3] == p->dst[3];
	if ((a->op != bpf_htons(1) && !(a->op == bpf_htons(2) && p->announces)) || p->src[3] == 0)
		return NOT_UNICAST; // an answer nobody asked for, or a probe for a duplicate
	return 0;
}

// transport_size is the least size of a protocol's header, 0 where nothing is read.
static __always_inline __u32 transport_size(__u8 proto)
{
	switch (proto) {
	case PROTO_TCP:
		return 20;
	case PROTO_SCTP:
		return 12;
	case PROTO_UDP:
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		return 8;
	}
	return 0;
}

// size is what the IP header says of the transport's length.
static __always_inline int parse_transport(struct packet *p, void *l4, void *end, __u32 size)
{
	__u32 header = transport_size(p->proto);
	__u8 *b = l4;
	p->l4_size = size;

	if (!header)
		return 0;
	if (size < header || l4 + 8 > end)
		return MALFORMED;
	p->headers += header;
	if (p->proto == PROTO_TCP) {
		if (l4 + 20 > end)
			return MALFORMED;
		p->tcp = b[13];
		p->headers += (b[12] >> 4) * 4 - 20;
	}
	if (p->proto != PROTO_ICMP && p->proto != PROTO_ICMPV6) {
		p->src_port = be16(b);
		p->dst_port = be16(b + 2);
		p->asked = p->dst_port;
		return 0;
	}
	__u8 request = p->v6 ? 128 : 8, reply = p->v6 ? 129 : 0;
	p->icmp = 1;
	p->asked = be16(b);
	if (b[0] == request) {
		p->echo = ECHO_REQUEST;
		p->src_port = be16(b + 4);
		p->dst_port = p->asked;
	} else if (b[0] == reply) {
		p->echo = ECHO_REPLY;
		p->src_port = (__u16)request << 8 | b[1];
		p->dst_port = be16(b + 4);
	} else {
		p->dst_port = p->asked;
		p->about = p->v6 ? b[0] >= 1 && b[0] <= 4 : b[0] == 3 || b[0] == 11 || b[0] == 12;
		p->about = p->about && !p->piece;
	}
	return 0;
}

// quote reads the packet that an ICMP error is about, which is at offset at. It
// clears about where that is not one from whom the error goes to, to whom it
// comes from.
__noinline int quote(struct __sk_buff *skb, struct packet *p, __u32 at, __u32 size)
{
	__u8 b[40] __attribute__((aligned(8)));
	__u32 header = 40;

	if (!p)
		return 0;
	p->about = 0;
	if (p->v6) {
		if (size < 48 || bpf_skb_load_bytes(skb, at, b, 40) || b[0] >> 4 != 6)
			return 0;
		for (int i = 0; i < 4; i++) {
			if (word(b + 8 + 4 * i) != p->dst[i] || word(b + 24 + 4 * i) != p->src[i])
				return 0;
		}
		p->about_proto = b[6];
	} else {
		if (size < 28 || bpf_skb_load_bytes(skb, at, b, 20) || b[0] >> 4 != 4)
			return 0;
		header = (b[0] & 0xf) * 4;
		if (header < 20 || be16(b + 6) & 0x1fff || word(b + 12) != p->dst[3] || word(b + 16) != p->src[3])
			return 0;
		p->about_proto = b[9];
	}
	if (size < header + 8 || bpf_skb_load_bytes(skb, at + header, b, 8))
		return 0;
	p->about_src = p->about_dst = 0;
	__u8 request = 8, reply = 0;
	switch (p->about_proto) {
	case PROTO_TCP:
	case PROTO_UDP:
	case PROTO_SCTP:
		p->about_src = be16(b + 2);
		p->about_dst = be16(b);
		break;
	case PROTO_ICMPV6:
		request = 128;
		reply = 129;
	case PROTO_ICMP:
		if (b[0] == request) {
			p->about_src = request << 8 | b[1];
			p->about_dst = be16(b + 4);
		} else if (b[0] == reply) {
			p->about_src = be16(b + 4);
			p->about_dst = request << 8 | b[1];
		} else {
			return 0;
		}
	}
	p->about = 1;
	return 0;
}

// fragment takes down a piece of a packet: offset and size are of its payload.
static __always_inline int fragment(struct packet *p, int v6, __u8 proto, int more, __u32 offset, __u32 size, __u32 id)
{
	if (offset + size > 0xffff)
		return MALFORMED;
	if (offset == 0 && !more)
		return 0;
	p->piece = offset ? LATER : FIRST;
	p->piece_id = id;
	__u32 least = transport_size(proto);
	if (v6 && (proto == 0 || proto == 43 || proto == 44 || proto == 51 || proto == 60))
		least = 276; // in the first piece they come before the transport's header
	return offset && offset < least ? FRAGMENT : 0; // RFC 1858, RFC 7112
}

// extension walks one header between IPv6 and the transport's, which p->after
// says the kind of, walked bytes behind at where size are left. It returns how many bytes
// it has, 0 if it is none, or -reason.
__noinline int extension(struct __sk_buff *skb, struct packet *p, __u32 at, __u32 size, __u32 walked)
{
	__u8 b[8] __attribute__((aligned(8)));
	__u32 n;

	if (!p)
		return -MALFORMED;
	__u8 next = p->after;
	if (next == 135 || next == 139 || next == 140)
		return -EXTENSION_HEADER;
	if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
		return 0;
	if (size < 8 || bpf_skb_load_bytes(skb, at + walked, b, 8))
		return -MALFORMED;
	n = next == 44 ? 8 : next == 51 ? (b[1] + 2) * 4 : (b[1] + 1) * 8;
	if (n > size || (next == 0 && walked))
		return -MALFORMED;
	if (walked + n > 256 || (next == 43 && b[2] == 0)) // RFC 5095
		return -EXTENSION_HEADER;
	p->after = b[0];
	if (next == 44) {
		int reason = fragment(p, 1, b[0], b[3] & 1, be16(b + 2) & 0xfff8, size - n, bpf_ntohl(word(b + 4)));
		if (reason)
			return -reason;
	}
	return n;
}

// extensions walks all of them. It returns how many bytes they have, or -reason.
__noinline int extensions(struct __sk_buff *skb, struct packet *p, __u32 at, __u32 size, __u8 next)
{
	__u32 walked = 0;

	if (!p)
		return -MALFORMED;
	p->after = next;
	for (int i = 0; i < 6; i++) {
		int n = extension(skb, p, at, size, walked);
		if (n <= 0)
			return n ? n : walked;
		walked += n;
		size -= n;
		if (p->piece == LATER)
			return walked;
	}
	return -EXTENSION_HEADER;
}

// size is the frame's without Ethernet header.
static __always_inline int parse_ipv4(struct packet *p, void *l3, void *end, __u32 size)
{
	__u8 *b = l3;
	if (size < 20 || l3 + 20 > end || b[0] >> 4 != 4)
		return MALFORMED;
	__u32 header = (b[0] & 0xf) * 4, total = be16(b + 2);
	if (header < 20 || total < header || total > size)
		return MALFORMED;
	map4(p->src, word(b + 12));
	map4(p->dst, word(b + 16));
	p->proto = b[9];
	p->tos = b[1];
	p->ttl = b[8];
	p->headers = header;
	if (p->src[3] == p->dst[3])
		return MALFORMED;
	if (p->to[0] & 1 || b[16] >= 224)
		return NOT_UNICAST;
	if (p->proto == PROTO_ICMPV6)
		return MALFORMED;
	__u32 field = be16(b + 6);
	if (field & 0x3fff) {
		int reason = fragment(p, 0, p->proto, field & 0x2000, (field & 0x1fff) * 8, total - header, be16(b + 4));
		if (reason || p->piece == LATER)
			return reason;
	}
	return parse_transport(p, l3 + header, end, total - header);
}

// ICMPv6 of types 133 to 137. Only a solicitation is answered; the others never
// leave their link.
static __always_inline int parse_neighbor(struct packet *p, __u8 *b, void *end, __u32 size, __u8 hop_limit)
{
	if (b[0] == 136 && size >= 24 && (void *)b + 24 <= end && b[1] == 0 && hop_limit == 255 && (p->to[0] & 1)) {
		__be32 target[4];
		copy16(target, b + 8);
		if (same16(target, p->src) && b[8] != 0xff && (target[0] | target[1] | target[2] | target[3])) {
			copy16(p->dst, b + 8);
			p->announces = 1; // nobody solicited it
			p->kind = KIND_SOLICIT;
			p->proto = 0;
			return 0;
		}
	}
	if (b[0] != 135 || !(p->src[0] | p->src[1] | p->src[2] | p->src[3]))
		return NOT_UNICAST;
	if (size < 24 || (void *)b + 24 > end || b[1] != 0 || hop_limit != 255)
		return MALFORMED;
	copy16(p->dst, b + 8);
	if (b[8] == 0xff || mapped(p->dst))
		return MALFORMED;
	p->kind = KIND_SOLICIT;
	p->proto = 0;
	return 0;
}

static __always_inline int parse_ipv6(struct packet *p, void *l3, void *end, __u32 size)
{
	__u8 *b = l3;
	if (size < 40 || l3 + 40 > end || b[0] >> 4 != 6)
		return MALFORMED;
	__u32 payload = be16(b + 4);
	if (payload > size - 40)
		return MALFORMED;
	copy16(p->src, b + 8);
	copy16(p->dst, b + 24);
	p->v6 = 1;
	p->proto = b[6];
	p->tos = b[0] << 4 | b[1] >> 4;
	p->ttl = b[7];
	p->headers = 40;
	if (same16(p->src, p->dst) || mapped(p->src) || mapped(p->dst))
		return MALFORMED;
	__u8 *l4 = b + 40;
	if (p->proto == PROTO_ICMPV6 && payload > 0 && (void *)l4 + 1 <= end && l4[0] >= 133 && l4[0] <= 137)
		return parse_neighbor(p, l4, end, payload, b[7]);
	if ((p->to[0] & 1) || b[24] == 0xff)
		return NOT_UNICAST;
	__u32 walked = 0;
	if (p->after != p->proto || p->walked) {
		p->proto = p->after;
		if (p->walked < 0)
			return -p->walked;
		walked = p->walked & 0x1ff;
		if (walked > payload)
			return MALFORMED;
		if (p->piece == LATER)
			return 0;
		p->headers += walked;
		l4 += walked;
		if (p->proto == PROTO_ICMPV6 && payload > walked && (void *)l4 + 1 <= end && l4[0] >= 133 && l4[0] <= 137)
			return NOT_UNICAST; // RFC 6980
	}
	if (p->proto == PROTO_ICMP)
		return MALFORMED;
	return parse_transport(p, l4, end, payload - walked);
}

// linear makes the first n bytes of the packet, or all that there are, readable.
static __always_inline void linear(struct __sk_buff *skb, __u32 n)
{
	if (skb->len < n)
		n = skb->len;
	if ((void *)(long)skb->data + n > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, n);
}

// headers_end is where the headers end that are to be read, seen from the first
// bytes of the network's header.
static __always_inline __u32 headers_end(struct __sk_buff *skb, struct packet *p, __u32 at)
{
	__u8 *b = (void *)(long)skb->data + at;
	if ((void *)b + ETH_SIZE + 10 > (void *)(long)skb->data_end)
		return 0;
	at += ETH_SIZE;
	switch (*(__u16 *)(b + 12)) {
	case ETH_IPV4:
		return at + (b[ETH_SIZE] & 0xf) * 4 + transport_size(b[ETH_SIZE + 9]);
	case ETH_IPV6:
		p->after = b[ETH_SIZE + 6];
		switch (p->after) {
		case PROTO_ICMPV6:
			return at + 40 + 24;
		case PROTO_TCP:
		case PROTO_UDP:
			return at + 40 + transport_size(p->after);
		}
		p->walked = extensions(skb, p, at + 40, be16(b + ETH_SIZE + 4), p->after);
		return p->walked < 0 ? 0 : at + 40 + p->walked + transport_size(p->after);
	}
	return at + sizeof(struct arp);
}

// parse reads the frame at offset at, size bytes long, and returns a reason.
// The kernel has taken a VLAN tag out of the frame if there was one.
__noinline int parse(struct __sk_buff *skb, struct packet *p, __u32 at, __u32 size)
{
	if (!p)
		return MALFORMED;
	at &= 127; // the verifier knows no better
	linear(skb, at + ETH_SIZE + 20);
	linear(skb, headers_end(skb, p, at));
	void *frame = (void *)(long)skb->data + at, *end = (void *)(long)skb->data_end;
	__u8 *b = frame;
	int reason = NOT_IP;

	if (frame + ETH_SIZE > end)
		return MALFORMED;
	copy_mac(p->mac, b + 6);
	copy_mac(p->to, b);
	__u16 type = *(__u16 *)(b + 12);
	if (skb->vlan_present && at == 0)
		return NOT_IP;
	size -= ETH_SIZE;
	if (type == ETH_IPV4)
		reason = parse_ipv4(p, frame + ETH_SIZE, end, size);
	else if (type == ETH_IPV6)
		reason = parse_ipv6(p, frame + ETH_SIZE, end, size);
	else if (type == ETH_ARP)
		reason = size < sizeof(struct arp) ? MALFORMED : parse_arp(p, frame + ETH_SIZE, end);
	p->size = skb->gso_size ? p->headers + skb->gso_size : size;
	if (p->about && !reason)
		quote(skb, p, at + ETH_SIZE + p->headers, p->l4_size - 8);
	return reason;
}
