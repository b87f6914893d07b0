//go:build ignore

// What a move of an endpoint needs at the host that it goes to: what the other
// host has judged is delivered, and the flows of the port are taken over.
#pragma once

// handed deals with an overlay packet that is said to be judged already: only
// the host of the receiver's other binding may say so. The inner frame is at
// offset at, size bytes long.
__noinline int handed(struct __sk_buff *skb, struct packet *p, __u32 length, __u32 at, __u32 size)
{
	if (!p)
		return SHOT;
	int reason = parse(skb, p, at, size), fault = admitted(p, 1);
	if (!at && skb->vlan_present)
		reason = NOT_IP;

	if (!reason && p->kind != KIND_IP)
		reason = NOT_UNICAST;
	if (!reason && (p->outer_tos & ECN) == ECN && !(p->tos & ECN))
		reason = CONGESTED;
	if (!fault)
		fault = reason;
	if (fault)
		return drop_for(p, length, fault);
	struct dest *dst = dest_at(slot_of(p, p->dst));
	if ((!dst || !is_port(dst) || dst->flags & DEST_ROUTED) && received(p))
		dst = dest_at(permitted(p, p->receiver, 1));
	if (!dst || !is_port(dst) || dst->flags & DEST_ROUTED || !by_other(p, dst))
		return drop_for(p, length, BAD_OVERLAY);
	if (p->wire && dst->flags & DEST_ON_TAP)
		return leave(skb, p);
	p->port = dst->port;
	if (p->size > dst->mtu)
		return drop_for(p, length, TOO_BIG);
	if (at && bpf_skb_adjust_room(skb, -OUTER_SIZE, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | (p->v6 ? DECAP_L3_IPV6 : DECAP_L3_IPV4)))
		return drop_for(p, length, ENCAP_FAILED);
	struct ethernet *e = (void *)(long)skb->data;
	if ((void *)(e + 1) > (void *)(long)skb->data_end)
		return drop_for(p, length, ENCAP_FAILED);
	copy_mac(e->dst, dst->mac);
	copy_mac(e->src, p->mac);
	e->type = p->v6 ? ETH_IPV6 : ETH_IPV4;
	if ((p->outer_tos & ECN) == ECN && !mark(skb, p, 0))
		return drop_for(p, length, ENCAP_FAILED);
	tell(p, DELIVERED, 0, dst);
	if (dst->vlan)
		return into_tagged(skb, dst);
	return into(skb, dst, dst->flags & DEST_ON_TAP);
}

// One flow that another host has carried: src is its initiator.
struct adopt_args {
	__u32 vni;
	__be32 src[4], dst[4];
	__u16 src_port, dst_port;
	__u32 port;
	__u32 idle;  // ticks
	__u8 proto, v6;
	__u8 state;  // FLOW_*
	__u8 reason; // out: why there is no room for it
	__u32 join;  // it is the same as one that is here: that has its state too
	__u32 pad;
	__u64 uid[2];
};

volatile const struct adopt_args named_adopt_args = {};

// elsewhere reports whether an address is of another port of this host, active here.
static __always_inline int elsewhere(const struct packet *p, const __be32 *addr, __u64 life)
{
	struct dest *d = end_at(p->vni, addr, life);
	return d && is_local(d) && d->port != p->port;
}

// adopt begins a carried flow whose generations no slot has, unless it is over
// or has had a packet here; or gives it the state that it had elsewhere. A flow that was
// begun by who is active here is left: this host has heard of it by itself, or by the carrier
// of that one; but for what programs of an older layout noted, which was here.
SEC("syscall")
int adopt(struct adopt_args *a)
{
	struct packet p = {.vni = a->vni, .src_port = a->src_port, .dst_port = a->dst_port, .proto = a->proto, .v6 = a->v6, .port = a->port};
	struct flow new = {.state = a->state, .port = a->port, .proto = a->proto, .gen = {STALE, STALE}};
	__u32 now = bpf_ktime_get_ns() >> TICK_SHIFT;

	__builtin_memcpy(p.src, a->src, 16);
	__builtin_memcpy(p.dst, a->dst, 16);
	sort(&p);
	struct flow *held = seek(&p);
	int from = p.swapped & 1;
	new.last = now - a->idle;
	new.initiator = from;
	new.ports = ports_of(&p);
	new.uid[from] = a->uid[0];
	new.uid[!from] = a->uid[1];
	a->reason = 0;
	if (expired(&new, a->proto, now) ||
	    (!a->join && elsewhere(&p, p.src, a->uid[0])))
		return 0;
	if (held && a->join && held->uid[from] == new.uid[from] && held->uid[!from] == new.uid[!from] &&
	    held->initiator == new.initiator) {
		__u32 was = __sync_fetch_and_or(&held->state, new.state);
		if (new.state & ~was & FLOW_CONFIRMED)
			confirmed(held->port);
		if ((__s32)(new.last - held->last) > 0)
			held->last = new.last;
		return 0;
	}
	if (held) {
		if ((held->packets[0] || held->packets[1]) && !expired(held, a->proto, now))
			return 0;
		forget(&p, held->port, held->state);
	}
	begin(&p, &new);
	a->reason = p.reason;
	return 0;
}
