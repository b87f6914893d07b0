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
	CONGESTED, ERROR_LIMIT, NO_ROUTE, TTL_EXPIRED, TO_ROUTER, UNKNOWN_TAG,
};

// dataplane.Want and dataplane.Action.
enum want { WANT_PEER, WANT_PAIR, WANT_CONFIRM, WANT_FIRST, WANT_CLAIM, WANT_TURN, WANT_DENIAL };
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
	union {
		__u8 announces; // ARP and solicitation: it says that its sender has an address
		__u8 said;      // decision, of IP: RULE_*, what is told here of the rule
	};
	union {
		__u8 mac[6];  // Ethernet source
		__u8 from[6]; // over a router, once it goes: the MAC that it leaves from
	};
	__u8 tos;      // DSCP << 2 | ECN
	__u8 piece;    // packet_piece
	__u8 about_proto; // if about: an ICMP error is about this flow, in the error's direction
	__u8 stale;    // decision: a flow of it is not to be known yet
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
	union {
		__u16 class; // from the overlay: group id of its header
		__u16 vlan;  // from a guest: the tag that its frame had
	};
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
