//go:build ignore

// The programs of a switch, one for each hook:
//
//   guest_in   ingress of each guest port      what a guest sends
//   guest_out  egress of each guest port       nothing but what the switch sends
//   wire_in    ingress of the underlay         overlay packets to veth ports, and small ones to taps
//   vx_in      ingress of the vxlan device     all other overlay packets
//   up_in      ingress of the agent's tap      missed packets that come back
//   gc         run by the agent                forgets flows that have expired, of those named to it
//
// guest_in, vx_in and up_in never leave a packet to the host's stack.
//
// Functions that are not static are verified once, for whatever they are given,
// and not again wherever they are called: that keeps a start short. But a call's
// return is dear where the kernel guards it (10 ns), so what each packet of a
// known flow goes through is inlined, all but parse.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"
#include "parse.h"
#include "flow.h"
#include "judge.h"
#include "report.h"
#include "forward.h"
#include "neighbor.h"
#include "toobig.h"
#include "foreign.h"

// finish does what was judged. ifindex is the sending port's device.
static __always_inline int finish(struct __sk_buff *skb, struct packet *p, int judgement, __u32 ifindex, __u32 length)
{
	if (judgement == FORWARD)
		return forward(skb, p, length);
	if (expires(p))
		judgement = refuse(p, TTL_EXPIRED);
	switch (judgement) {
	case MISS:
		return ask(skb, p, length);
	case ECHO:
		if (!pong(skb, p))
			return drop_for(p, length, MALFORMED);
	case ANSWER:
		tell(p, ANSWERED, 0, 0);
		skb->mark = COOKIE;
		return retag(skb, p, bpf_redirect(ifindex, 0));
	}
	int shot = drop(p, length);
	if (1ULL << p->reason & TOLD && p->direction == IN_GUEST && !p->again)
		return retag(skb, p, told(skb, p, ifindex));
	return shot;
}

// from_guest judges the frame of a port. p has what is known of the port. What comes
// back from the agent, again, is judged anew.
static __always_inline int from_guest(struct __sk_buff *skb, struct packet *p, const struct port *port, __u32 ifindex, int again)
{
	__u32 length = skb->len;
	int judgement, reason = parse(skb, p, 0, length);

	if (!reason && (p->sender_differs || !same_mac(p->mac, port->mac)) && !(port->flags & PORT_OPEN)) {
		p->other_mac = 1;
		if (!(port->flags & PORT_ALLOWED))
			reason = SPOOFED_MAC;
	}
	if (reason)
		return drop_for(p, length, reason);
	if (p->kind != KIND_IP)
		judgement = neighbor(skb, p);
	else
		judgement = again || p->other_mac ? anew(p, length) : judge(p, length);
	return finish(skb, p, judgement, ifindex, length);
}

SEC("tc")
int guest_in(struct __sk_buff *skb)
{
	struct port_key k = {.ifindex = skb->ifindex};
	struct packet p = {.direction = IN_GUEST};
	if (testing)
		k.ifindex = *(volatile __u32 *)&skb->mark;
	struct port *port;

	if (tagged(skb)) {
		if (!untag(skb, &k))
			return stray(skb, &p, &k);
		p.vlan = k.vlan;
	}
	port = bpf_map_lookup_elem(&ports, &k);
	if (!port)
		return drop_for(&p, skb->len, NO_PORT);
	p.port = port->id;
	p.vni = port->vni;
	p.domain = port->domain;
	p.mtu = port->mtu;
	return from_guest(skb, &p, port, k.ifindex, 0);
}

SEC("tc")
int guest_out(struct __sk_buff *skb)
{
	if (skb->mark == COOKIE)
		return PASS;
	struct port_key k = {.ifindex = skb->ifindex};
	struct packet p = {};
	struct port *port = bpf_map_lookup_elem(&ports, &k);
	if (port) {
		p.port = port->id;
		p.vni = port->vni;
	}
	return drop_for(&p, skb->len, NOT_SWITCHED);
}

// admitted checks the overlay's own headers: is the sender of the fleet, is the
// network here? It fills in what is known of the network.
static __always_inline int admitted(struct packet *p, int well_formed)
{
	struct vtep *v = bpf_map_lookup_elem(&vteps, p->vtep);
	if (!v)
		return UNKNOWN_VTEP;
	p->foreign = v->flags & VTEP_FOREIGN;
	if (!well_formed || (p->class == NO_CLASS && !p->foreign))
		return BAD_OVERLAY;
	struct network *n = bpf_map_lookup_elem(&networks, &p->vni);
	if (!n)
		return UNKNOWN_NETWORK;
	p->domain = n->domain;
	return 0;
}

// received finds the port that is allowed something and has the MAC which the frame
// came to.
static __noinline int received(struct packet *p)
{
	struct gateway_key k = {.vni = p->vni};

	copy_mac(k.mac, p->to);
	__u32 *port = bpf_map_lookup_elem(&macs, &k);
	if (!port || !*port)
		return 0;
	p->receiver = *port;
	p->reason = 0;
	return 1;
}

// judge_overlay judges the inner frame at offset at, size bytes long. A known
// flow says by itself that its sender's VTEP and its network are admitted.
static __always_inline int judge_overlay(struct __sk_buff *skb, struct packet *p, __u32 at, __u32 size, int well_formed, int again)
{
	int fault, reason = 0, asks = 0;

	if (well_formed) {
		reason = parse(skb, p, at, size);
		if (at == 0 && skb->vlan_present)
			reason = NOT_IP;
		if (!reason && p->kind != KIND_IP) {
			reason = NOT_UNICAST;
			asks = 1;
		}
		if (!reason && (p->outer_tos & ECN) == ECN && !(p->tos & ECN))
			reason = CONGESTED;
		if (!reason) {
			int j = again ? -1 : known(p, size);
			if (j >= 0)
				return j;
		}
	}
	fault = admitted(p, well_formed);
	if (!fault && asks && p->foreign && !p->announces)
		return asked(p);
	if (!fault)
		fault = reason;
	if (fault)
		return refuse(p, fault);
	int j = anew(p, size);
	if (j == DROP && p->reason == NOT_HERE && !p->receiver && received(p))
		return anew(p, size);
	return j;
}

static __always_inline int leave(struct __sk_buff *skb, struct packet *p)
{
	tell(p, PASSED, 0, 0);
	skb->mark = WIRE_COOKIE;
	return PASS;
}

#include "move.h"

// unwrapped does for tests what the kernel's decapsulation does for answer_back.
static __noinline int unwrapped(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	if (bpf_skb_adjust_room(skb, -OUTER_SIZE, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | (p->v6 ? DECAP_L3_IPV6 : DECAP_L3_IPV4)))
		return drop_for(p, length, ENCAP_FAILED);
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, ENCAP_FAILED);
	copy_mac(e->src, p->mac);
	e->type = p->kind == KIND_ARP ? ETH_ARP : ETH_IPV6;
	return answer_back(skb, p, length);
}

SEC("tc")
int wire_in(struct __sk_buff *skb)
{
	struct packet p = {.direction = IN_OVERLAY};
	struct settings *c = settings();
	__u32 length = skb->len, frame;

	linear(skb, OUTER_SIZE + ETH_SIZE + 40); // the inner headers of most packets too
	struct ethernet *e = (void *)(long)skb->data;
	struct overlay *at = (void *)e + OUTER_SIZE - sizeof(*at);
	if (!c || skb->vlan_present || (void *)at + 8 > (void *)(long)skb->data_end || e->type != (outer6 ? ETH_IPV6 : ETH_IPV4))
		goto other;
	if (outer6) {
		struct ipv6 *ip = (void *)(e + 1);
		if ((ip->version & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) || !same16(ip->dst, c->vtep))
			goto other;
		if (ip->next == PROTO_FRAGMENT)
			return leave(skb, &p); // the kernel reassembles, vx_in judges
		frame = bpf_ntohs(ip->payload);
		if (ip->next != PROTO_UDP || frame > length - ETH_SIZE - sizeof(*ip))
			goto other;
		copy16(p.vtep, ip->src);
		p.outer_tos = bpf_ntohl(ip->version) >> 20;
	} else {
		struct ipv4 *ip = (void *)(e + 1);
		if (ip->version >> 4 != 4 || ip->proto != PROTO_UDP || ip->dst != c->vtep[3])
			goto other;
		if (ip->fragment & bpf_htons(0x3fff) || ip->version != 0x45) {
			if (ip->version == 0x45 && !(ip->fragment & bpf_htons(0x1fff)) && at->dst_port != bpf_htons(OVERLAY_PORT))
				goto other;
			return leave(skb, &p); // the kernel reassembles and skips options, vx_in judges
		}
		frame = bpf_ntohs(ip->total);
		if (frame > length - ETH_SIZE || frame < sizeof(*ip))
			goto other;
		frame -= sizeof(*ip);
		map4(p.vtep, ip->src);
		p.outer_tos = ip->tos;
	}
	if (at->dst_port != bpf_htons(OVERLAY_PORT) || frame < 8)
		goto other;

	if (!testing)
		p.wire = skb->gso_size ? WIRE_MERGED : WIRE_SINGLE;
	frame -= sizeof(*at); // the inner frame, or less than nothing
	if ((__s32)frame < ETH_SIZE || (void *)(at + 1) > (void *)(long)skb->data_end) {
		int reason = admitted(&p, 1);
		return drop_for(&p, length, reason == UNKNOWN_VTEP ? reason : MALFORMED);
	}
	p.class = bpf_ntohs(at->class);
	p.vni = bpf_ntohl(at->vni) >> 8;
	int well_formed = at->flags == 0x88 && at->flags2 == 0 && !(at->vni & bpf_htonl(0xff)) && p.class != NO_CLASS;
	if (!well_formed && at->flags == 0x08 && at->flags2 == 0 && !(at->vni & bpf_htonl(0xff)) && !p.class) {
		p.class = NO_CLASS; // as foreign VTEPs may have it
		well_formed = 1;
	}
	if (!well_formed && at->flags == 0x88 && at->flags2 == APPLIED && !(at->vni & bpf_htonl(0xff)) && p.class != NO_CLASS)
		return handed(skb, &p, length, OUTER_SIZE, frame);
	switch (judge_overlay(skb, &p, OUTER_SIZE, frame, well_formed, 0)) {
	case FORWARD:
		return unwrap(skb, &p, length);
	case DROP:
		return drop(&p, length);
	case MISS:
		if (testing) {
			queue(&p);
			tell(&p, MISSED, 0, 0);
			return PASS;
		}
		break;
	case ANSWER: // by the kernel, which alone leaves nothing that would keep the answer from being encapsulated
		if (testing)
			return unwrapped(skb, &p, length);
	}
	return leave(skb, &p);
other:
	tell(&p, PASSED, 0, 0);
	return PASS;
}

// from_overlay judges an inner frame whose outer headers the kernel has taken
// off. p has what they said.
static __always_inline int from_overlay(struct __sk_buff *skb, struct packet *p, int well_formed, int again)
{
	__u32 length = skb->len + OUTER_SIZE; // what is counted is what the wire brought

	int judgement = judge_overlay(skb, p, 0, skb->len, well_formed, again);
	return judgement == ANSWER ? answer_back(skb, p, length) : finish(skb, p, judgement, 0, length);
}

// decapsulated reads what the kernel's decapsulation keeps of the outer headers,
// and reports whether these were well formed. A function of its own, for its stack.
static __noinline int decapsulated(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_tunnel_key key = {};
	__u32 gbp = 0;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), outer6 ? BPF_F_TUNINFO_IPV6 : 0))
		return 0;
	if (outer6)
		__builtin_memcpy(p->vtep, key.remote_ipv6, 16);
	else
		map4(p->vtep, bpf_htonl(key.remote_ipv4));
	p->vni = key.tunnel_id;
	if (bpf_skb_get_tunnel_opt(skb, &gbp, sizeof(gbp)) != sizeof(gbp)) {
		p->class = NO_CLASS;
		return skb->mark == WIRE_COOKIE;
	}
	if ((gbp & 0xffff) == NO_CLASS)
		return 0;
	p->class = gbp;
	p->applied = gbp >> 16 == APPLIED; // the kernel's flag is the wire's bit
	// Without the cookie it came in by another device or to another address.
	return (p->applied || !(gbp >> 16)) && skb->mark == WIRE_COOKIE;
}

SEC("tc")
int vx_in(struct __sk_buff *skb)
{
	__u32 one = 1;
	struct packet *p = bpf_map_lookup_elem(&again, &one); // the stack is short
	if (!p)
		return SHOT;
	__builtin_memset(p, 0, sizeof(*p));
	p->direction = IN_OVERLAY;

	int well_formed = decapsulated(skb, p);
	if (well_formed && p->applied)
		return handed(skb, p, skb->len + OUTER_SIZE, 0, skb->len);
	return from_overlay(skb, p, well_formed, 0);
}

SEC("tc")
int up_in(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct packet *p = bpf_map_lookup_elem(&again, &zero); // the stack is short
	if (!p)
		return SHOT;
	__builtin_memset(p, 0, sizeof(*p));
	p->again = 1;
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end || e->dst[0] != 0x02 || (e->dst[1] & ~(1 | BACK)) != 0xd0)
		return drop_for(p, skb->len, MALFORMED);
	p->direction = e->dst[1] & 1;
	p->again_want = e->dst[4];
	__u8 life = e->dst[5];
	p->class = be16(e->src + 4);
	__u32 id = be16(e->dst + 2), vtep = be16(e->src + 2);

	struct port_state *s = bpf_map_lookup_elem(&port_states, &id);
	struct port_key k = {.ifindex = s ? s->ifindex : 0, .vlan = s ? s->vlan : 0};
	struct port *port = bpf_map_lookup_elem(&ports, &k);
	if (!port || port->life != life)
		return drop_for(p, skb->len + (p->direction == IN_OVERLAY ? OUTER_SIZE : 0), NO_PORT);
	p->vni = port->vni;
	if (p->direction == IN_GUEST) {
		p->port = port->id;
		p->domain = port->domain;
		p->mtu = port->mtu;
		p->vlan = k.vlan;
		return from_guest(skb, p, port, k.ifindex, 1);
	}
	struct vtep_key *addr = bpf_map_lookup_elem(&vtep_addrs, &vtep);
	if (addr)
		__builtin_memcpy(p->vtep, addr->addr, 16);
	p->receiver = id; // the MAC that it came to is overwritten
	return from_overlay(skb, p, 1, 1);
}

#include "gc.h"

SEC("syscall")
int gc(struct gc_args *args)
{
	struct gc_walk w = {.now = bpf_ktime_get_ns() >> TICK_SHIFT, .port = args->port, .moved = args->moved, .v6 = args->v6}; // no coarse clock here

	bpf_loop(args->named, gc_one, &w, 0);
	args->deleted = w.deleted;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
