//go:build ignore

// What a switch holds, as maps. They outlive the programs, so a change of them is
// another layout (load.go): the next version takes over what this one pinned,
// by the names of the fields (upgrade.go). So a field keeps its name as long as it
// means the same, and gets another one when it does not; one that is new is zero
// at first; and one of another size needs a rule in convert.go. To build the
// layout before for the test, see testdata/README.
// Go fills all but flows, port_states, counters,
// sampled and events, and owns the slots of dests and pair_slots: a slot's
// generation only grows, also when the slot is used for something else, so a
// flow that remembers an old one never takes what came after for its own.
#pragma once

#define IN_GUEST 0
#define IN_OVERLAY 1

// Kinds of destination. VETH, TAP and TAGGED are delivered to, and with STANDBY
// they are the ports.
enum dest_kind {
	DEST_NONE = 0,   // free, or a peer that was taken away
	DEST_VETH = 1,
	DEST_TAP = 2,
	DEST_REMOTE = 3,
	DEST_HIDDEN = 4, // location withheld
	DEST_HERE = 5,   // bound to this host, but no port yet
	DEST_STANDBY = 6, // a local port whose endpoint is active behind vtep
	DEST_ROUTER = 7,  // a router's own address
	DEST_TAGGED = 8,  // as VETH or TAP, by a device that several ports have
};

#define COPY_DSCP 0x100
#define DEST_ADMITTED 1       // flag: vtep is a member of the fleet
#define DEST_OTHER_ADMITTED 2 // flag: other is one
#define DEST_ON_TAP 4         // flag: its port's device is a tap
#define DEST_ROUTED 8         // flag: it is behind a router, see routes
#define DEST_FOREIGN 16       // flag: no switch of ours is at vtep
#define DEST_PLAIN 32         // flag: vtep is sent no group policy id

#define VTEP_FOREIGN 1
#define VTEP_PLAIN 2

#define NO_CLASS 0xffff // there was no group policy id

#define DEST_PREFIX 64        // flag: it stands for all addresses of a prefix that a port is allowed,
#define PREFIX_VNI (1u << 31) // and its vni has this bit: it is no address's own
#define DEST_PEER 128         // flag: a peer of this host, that a port has

#define LENT_ALONE 1
#define LENT_SEVERAL 2 // and another port has its MAC: that does not say whose a packet from the overlay is

struct settings {
	__be32 vtep[4];
	__u32 underlay;        // ifindex
	__u32 up;              // ifindex of the agent's tap
	__u32 vxlan;           // of the kernel's decapsulation
	__u32 dscp;            // of outer headers, << 2; COPY_DSCP: the inner one
	__u64 miss_interval;   // ns between misses of one port, 0 = no limit
	__u64 miss_burst;      // ns worth of misses at once
	__u64 error_interval;  // of ICMP errors about one flow, of which ten pass at once
	__u64 event_interval;  // the same for drop events of one port, and for hints
	__u64 event_burst;
	__u32 joining;         // programs of an older layout run beside: no flow begins
	__u32 turn_ticks;      // how long what the agent has may keep its place, 0: for ever
};

struct port_key {
	__u32 ifindex;
	__u16 vlan;
	__u16 pad;
};

struct port {
	__u32 id;
	__u32 vni;
	__u32 domain;
	__u16 mtu;
	__u8 kind; // of dest
	__u8 life; // of port_state
	__u8 mac[6];
	__u8 flags; // PORT_*
	__u8 unused;
};

#define PORT_ALLOWED 1 // it may use more than its own addresses and MAC, see permits
#define PORT_OPEN 2    // and any MAC

// What the programs change of a port, by its id. Of 0 only flows, unconfirmed and
// budget: of all ports.
struct port_state {
	__u32 ifindex; // 0: no such port
	__u32 flows;
	__u32 unconfirmed; // of these
	__u32 budget;  // flows that it may have, of which half unconfirmed
	__u32 vni;     // also when it is closed
	__u32 life;    // counts its networks: what missed in one is not given back in another
	__u64 miss_at[2]; // by direction: when the next miss would be due at an even pace, ns
	__u64 events_at[2]; // the same of drops, and of hints: peers bring these about, and drops are to be heard beside
	__u64 told_at; // the next ICMP message to the guest
	__u64 said_at; // the next event of a rule that has it told
	__u32 domain;  // whose share its flows are of, also when it is closed
	__u32 vlan;
};

// What the ports of a domain have together. A domain may have SHARE times as
// much of the flow table as is then still free, so that others find room.
struct domain_state {
	__u32 flows;
	__u32 unconfirmed; // of these
};
#define SHARE 4

struct network {
	__u32 domain;
	__u32 mtu;
};

// An address as seen from a network; IPv4 is mapped into ::ffff:0:0/96.
struct endpoint_key {
	__u32 vni;
	__be32 addr[4];
};

struct dest {
	__u32 gen; // read before, written after all else
	__u8 kind;
	__u8 flags;
	__u16 class;
	__u64 uid;
	__u32 ifindex; // local
	__u32 port;    // local
	__u8 mac[6];
	__u16 mtu;     // local
	__u32 vni;
	__be32 addr[4]; // with vni, whose slot it is
	__be32 vtep[4];  // remote, standby; of an active port with another binding it is other
	__be32 hop[4];   // remote: next hop to vtep on the underlay, zero: ask the kernel's routes
	__be32 other[4]; // VTEP of its other binding, zero: none
	__u16 vlan;      // local: tag of its port's frames
	__u8 bits;       // of addr that count, with DEST_PREFIX
	__u8 lent;       // local: LENT_*, if its port is but allowed the address
};

// An address of the underlay; IPv4 is mapped into ::ffff:0:0/96, as everywhere.
struct vtep_key {
	__be32 addr[4];
};

struct vtep {
	__u32 number; // in vtep_addrs
	__u32 flags;
};

#define WAYS 8

// How a destination with DEST_ROUTED is reached, in the slot of its own number.
struct route {
	__u32 vni;       // the network that it is on
	__u8 gateway[6]; // the router's MAC on the network that it is seen from
	__u8 far[6];     // and on vni
	__u16 mtu;       // of vni, 0: not told
	__u16 ways;      // as good as each other, 0: this one alone
	__u32 way[WAYS]; // their slots, this one's first
};

struct gateway_key {
	__u32 vni;
	__u8 mac[6];
	__u8 pad[2];
};

#define GATEWAY_V4 1
#define GATEWAY_V6 2

// What the interface of a router speaks from.
struct gateway {
	__be32 addr4[4], addr6[4];
	__u32 has; // GATEWAY_*
	__u32 pad;
};

// What a port is allowed beside its own addresses, longest prefix first.
struct permit_key {
	__u32 prefixlen; // 32 and the bits of the address, IPv4 mapped
	__u32 port;      // << 1 | is it IPv6
	__be32 addr[4];
};

struct permit {
	__u32 slot;   // of dests
	__u32 claims; // a single address, that others may be allowed too
};

struct absence {
	__u64 end; // ns
	__u32 no_route;
	__u32 pad;
};

struct pair_key {
	__u32 domain;
	__u16 src;
	__u16 dst;
};

struct pair_slot {
	__u32 gen;
	__u32 table; // 0: no table, ask
	__u32 asked; // the generation of which a denial was asked about; by the programs
	__u32 flags; // PAIR_*
};

#define PAIR_ALONE 1 // one of its ends keeps no state: an answer is held against the table of its own direction too


// Longest prefix: table alone (32), with protocol (40), with port bits (41..56).
struct rule_key {
	__u32 prefixlen;
	__be32 table;
	__u8 proto;
	__u8 port[2]; // most significant first
	__u8 pad;
};

struct rule {
	__u16 id;
	__u8 allow;
	__u8 says; // RULE_*
	__u16 would; // with RULE_WOULD: the rule that would decide if those in shadow counted
	__u16 pad;
	__u32 mark; // of what is told of it, by names: of two rules that are told alike the same
};

#define RULE_LOG 1         // tell who is judged by it
#define RULE_WOULD 2       // rules in shadow would decide
#define RULE_WOULD_ALLOW 4 // and allow
#define RULE_NO_REPLY 8    // nor does it pass as an answer
#define RULE_TOLD (RULE_LOG | RULE_WOULD | RULE_WOULD_ALLOW)

struct table {
	__u8 digest[16];
};

struct name_key {
	__u32 table;
	__u32 rule;
};

struct rule_name {
	__u16 len;
	__u8 text[254];
};

// The lesser (address, port) is lo, so both directions meet in one entry. The
// network is the local port's.
struct flow4_key {
	__u32 vni;
	__be32 lo, hi;
	__u16 lo_port, hi_port;
	__u8 proto;
	__u8 pad[3];
};

struct flow6_key {
	__u32 vni;
	__be32 lo[4], hi[4];
	__u16 lo_port, hi_port;
	__u8 proto;
	__u8 pad[3];
};

#define FLOW_REPLIED 1      // the responder has sent a packet
#define FLOW_FIN_INITIATOR 2
#define FLOW_FIN_RESPONDER 4
#define FLOW_RST 8
#define FLOW_SYN 16         // it began with the first packet of a TCP connection
#define FLOW_CONFIRMED 32   // replied, and after FLOW_SYN the initiator went on
#define FLOW_GUARDED 64     // what answers is judged anew, for it is held against another table too
#define STALE (~0u) // generation that no slot has: its next packet is judged anew
#define FLOW_CLOSED(s) (((s) & FLOW_RST) || ((s) & 6) == 6)

// What each packet needs comes first. The table may give an entry to another
// flow while a program looks at it, so the entry says itself whose it is: by
// ports and protocol, and by what is in its slots. All writes but touch's go by
// the key.
struct flow {
	__u32 last;      // ticks, when a packet last passed
	__u32 state;     // FLOW_*
	__u32 ports;     // lo << 16 | hi
	__u32 pair;
	__u32 pair_gen;
	__u32 slot[2];   // lo, hi
	__u32 gen[2];
	__u32 port;      // whose budget it takes
	__u8 initiator;  // 0: lo, 1: hi
	__u8 proto;
	__u16 rule;      // of table, that allowed it
	__u32 table;
	__u32 twin;      // the other network that it has an entry under, 0: none
	__u32 mark;      // of the rule that it was judged by
	__u64 packets[2]; // by sending side
	__u64 bytes[2];
	__u64 uid[2];
	__u64 error_at;  // of ICMP errors about it, as port_state's
};

// What the pieces of a fragmented packet have in common, and what the first one
// was judged by.
struct piece_key {
	__u32 vni;
	__be32 src[4], dst[4];
	__u32 id;
	__u8 proto; // IPv4
	__u8 pad[3];
};

struct piece {
	__u32 at;       // ticks
	__u16 asked;
	__u8 proto;
	__u8 backwards; // it answers its flow's initiator
	__u64 uid[2];   // sender's, receiver's
	__u16 own;      // what it asks for by itself
	__u16 pad[3];
};

// How many packets between two addresses wait for the agent, by sending side, and
// since when some did.
struct turn_key {
	__u32 vni;
	__be32 lo[4], hi[4];
};

struct turn {
	__u32 waiting[2];
	__u32 since; // ticks
};

struct counter_key {
	__u32 port;
	__u32 table;
	__u16 rule;
	__u8 reason;
	__u8 would; // WOULD_*: what rules in shadow would say; port is the domain then
};

#define WOULD_BE 1    // in shadow a rule would decide,
#define WOULD_ALLOW 2 // would allow,
#define WOULD_NOW 4   // and the packet passes

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct event {
	__u32 port;
	__u32 vni;
	__be32 src[4], dst[4];
	__u32 table;
	__u16 rule, would;
	__u16 src_port, dst_port;
	__u8 proto;
	__u8 reason;
	__u8 direction;
	__u8 said;      // RULE_*
	__u8 backwards; // it answers the flow's initiator
	__u8 pad[3];
};

struct sample_key {
	__u32 vni;
	__be32 src[4], dst[4];
	__u16 src_port, dst_port;
	__u8 proto;
	__u8 reason;
	__u8 said;
	__u8 pad;
};

// What became of one packet, for tests without devices.
struct outcome {
	__u8 action;
	__u8 reason;
	__u8 want;
	__u8 judged; // a table was asked, table and rule say which
	__u16 rule;
	__u16 class;
	__u32 table;
	__u32 port;
	__u32 vni;
	__be32 vtep[4];
	__u8 hinted;
	__u8 said;
	__u16 would;
};

#define PIECE 256 // of a flow table, at which the agent looks in one go

struct gc_args {
	__u32 named;   // so many, see the map named
	__u32 v6;      // they are
	__u32 port;    // forget this one's flows too, 0: none
	__u32 moved;   // its endpoint lives on elsewhere: not those with another port
	__u32 deleted; // out
};

#define MAP(name_, type_, key_, value_, max_)                \
	struct {                                             \
		__uint(type, type_);                         \
		__type(key, key_);                           \
		__type(value, value_);                       \
		__uint(max_entries, max_);                   \
		__uint(pinning, LIBBPF_PIN_BY_NAME);         \
	} name_ SEC(".maps")

#define SPARSE_MAP(name_, type_, key_, value_, max_)         \
	struct {                                             \
		__uint(type, type_);                         \
		__type(key, key_);                           \
		__type(value, value_);                       \
		__uint(max_entries, max_);                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);        \
		__uint(pinning, LIBBPF_PIN_BY_NAME);         \
	} name_ SEC(".maps")

MAP(config, BPF_MAP_TYPE_ARRAY, __u32, struct settings, 1);
MAP(ports, BPF_MAP_TYPE_HASH, struct port_key, struct port, 4096);
MAP(port_states, BPF_MAP_TYPE_ARRAY, __u32, struct port_state, 65536);
MAP(domain_states, BPF_MAP_TYPE_HASH, __u32, struct domain_state, 4096);
MAP(networks, BPF_MAP_TYPE_HASH, __u32, struct network, 4096);
SPARSE_MAP(vteps, BPF_MAP_TYPE_HASH, struct vtep_key, struct vtep, 65536);
MAP(vtep_addrs, BPF_MAP_TYPE_ARRAY, __u32, struct vtep_key, 65536); // by number
SPARSE_MAP(endpoints, BPF_MAP_TYPE_HASH, struct endpoint_key, __u32, 65536); // -> slot
MAP(dests, BPF_MAP_TYPE_ARRAY, __u32, struct dest, 65536);
MAP(routes, BPF_MAP_TYPE_ARRAY, __u32, struct route, 65536);
SPARSE_MAP(gateways, BPF_MAP_TYPE_HASH, struct gateway_key, struct gateway, 16384);
SPARSE_MAP(permits, BPF_MAP_TYPE_LPM_TRIE, struct permit_key, struct permit, 65536);
SPARSE_MAP(macs, BPF_MAP_TYPE_HASH, struct gateway_key, __u32, 65536); // of ports with PORT_ALLOWED -> id, 0: of several
SPARSE_MAP(absent, BPF_MAP_TYPE_HASH, struct endpoint_key, struct absence, 65536);
SPARSE_MAP(pairs, BPF_MAP_TYPE_HASH, struct pair_key, __u32, 65536);       // -> slot
MAP(pair_slots, BPF_MAP_TYPE_ARRAY, __u32, struct pair_slot, 65536);
SPARSE_MAP(rules, BPF_MAP_TYPE_LPM_TRIE, struct rule_key, struct rule, 262144);
SPARSE_MAP(tables, BPF_MAP_TYPE_HASH, __u32, struct table, 65536);
SPARSE_MAP(rule_names, BPF_MAP_TYPE_HASH, struct name_key, struct rule_name, 262144);
MAP(flows4, BPF_MAP_TYPE_HASH, struct flow4_key, struct flow, 65536);
MAP(flows6, BPF_MAP_TYPE_HASH, struct flow6_key, struct flow, 65536);
MAP(counters, BPF_MAP_TYPE_PERCPU_HASH, struct counter_key, struct counter, 16384);
MAP(reasons, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counter, 64);
MAP(pieces, BPF_MAP_TYPE_LRU_HASH, struct piece_key, struct piece, 4096);
MAP(turns, BPF_MAP_TYPE_LRU_HASH, struct turn_key, struct turn, 8192);
MAP(sampled, BPF_MAP_TYPE_LRU_HASH, struct sample_key, __u32, 8192); // -> ticks

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct outcome);
	__uint(max_entries, 1);
} last_outcome SEC(".maps");

// Flows that seem over; IPv4 is mapped.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct flow6_key);
	__uint(max_entries, PIECE);
} named SEC(".maps");

// Room for the entry of a flow that begins: the stack has none.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct flow);
	__uint(max_entries, 1);
} new_flow SEC(".maps");
