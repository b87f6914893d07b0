//go:build ignore

// Several ports on one device: each but one has a VLAN id of its own, in the tag
// of its guest's frames. A frame is judged with the tag off, as its port's, and
// gets one on the way to its guest. The kernel keeps the tag beside the frame,
// so both are cheap, and large packets stay whole.
#pragma once

#define ETH_VLAN bpf_htons(0x8100)
#define ETH_VLAN_OUTER bpf_htons(0x88a8)
#define VLAN_ID 0xfff // of a tag; 0: it says a priority alone

static __always_inline int is_tag(__u16 type)
{
	return type == ETH_VLAN || type == ETH_VLAN_OUTER;
}

// tagged reports whether a guest's frame has a tag. No kernel takes it out of a
// test's frame.
static __always_inline int tagged(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return 1;
	if (!testing)
		return 0;
	__u8 *b = (void *)(long)skb->data;
	return (void *)b + 14 <= (void *)(long)skb->data_end && is_tag(*(__u16 *)(b + 12));
}

// untag takes the tag off a guest's frame and notes whose it says that the frame
// is. It returns 0 where the device has no such port, or the tag is none that a
// port can have.
__noinline int untag(struct __sk_buff *skb, struct port_key *k)
{
	__u8 b[6] __attribute__((aligned(2)));
	__u16 type, tci, inner;

	if (!k)
		return 0;
	if (skb->vlan_present) {
		if (bpf_skb_load_bytes(skb, 12, b, 2))
			return 0;
		type = skb->vlan_proto;
		tci = skb->vlan_tci;
		inner = *(__u16 *)b;
	} else {
		if (bpf_skb_load_bytes(skb, 12, b, 6))
			return 0;
		type = *(__u16 *)b;
		tci = be16(b + 2);
		inner = *(__u16 *)(b + 4);
	}
	if (type != ETH_VLAN || is_tag(inner))
		return 0;
	k->vlan = tci & VLAN_ID;
	if (bpf_map_lookup_elem(&ports, k) && !bpf_skb_vlan_pop(skb))
		return 1;
	k->vlan = 0; // it counts as the device's own
	return 0;
}

// tag puts a tag on a frame that has none. In tests it is put into it.
__noinline int tag(struct __sk_buff *skb, __u32 vlan)
{
	return !bpf_skb_vlan_push(skb, ETH_VLAN, vlan & VLAN_ID) && (!testing || !bpf_skb_vlan_push(skb, ETH_VLAN, 0));
}

// stray drops a frame whose tag is nobody's, at the port without one.
__noinline int stray(struct __sk_buff *skb, struct packet *p, struct port_key *k)
{
	if (!p || !k)
		return SHOT;
	struct port *port = bpf_map_lookup_elem(&ports, k);
	if (!port)
		return drop_for(p, skb->len, NO_PORT);
	p->port = port->id;
	p->vni = port->vni;
	return drop_for(p, skb->len, UNKNOWN_TAG);
}

// retag puts the tag that a guest's frame had on what the switch says to the guest in
// the frame's place, which action sends back.
static __always_inline int retag(struct __sk_buff *skb, const struct packet *p, int action)
{
	return action == SHOT || !p->vlan || tag(skb, p->vlan) ? action : SHOT;
}
