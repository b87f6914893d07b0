//go:build ignore

// What a packet's headers say, of the first fragment too; nothing else is read of
// a frame.
#pragma once

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
