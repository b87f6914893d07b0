//go:build ignore

// Foreign VTEPs have no switch of ours: a bridge there learns where a guest is by
// asking everybody. Who asks for a port of this host is answered, nothing else
// of what is not unicast is.
#pragma once

// asked judges who asks from behind a foreign VTEP for a port of this host: a peer
// that is there. A link-local address is nobody's, and on any network it could ask
// who is here. The answer goes to the MAC and says the class that p has then.
__noinline int asked(struct packet *p)
{
	if (!p)
		return DROP;
	struct vtep *v = bpf_map_lookup_elem(&vteps, p->vtep);
	__u32 slot = slot_of(p, p->dst);
	struct dest *src = dest_at(slot_of(p, p->src)), *dst = dest_at(slot);

	if (!v || !src || !dst || !is_local(dst) || dst->flags & DEST_ROUTED)
		return refuse(p, NOT_HERE);
	p->port = dst->port;
	p->dst_slot = slot;
	if (p->kind == KIND_SOLICIT && (p->src[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return refuse(p, SOURCE_MISMATCH);
	if (src->kind == DEST_NONE)
		return unknown(p, 0);
	if (src->kind == DEST_HIDDEN)
		return refuse(p, HIDDEN);
	if (src->kind == DEST_ROUTER)
		return refuse(p, SOURCE_MISMATCH);
	if (src->kind != DEST_REMOTE || src->flags & DEST_ROUTED || !same_vtep(src->vtep, p->vtep))
		return lacks(p, WANT_CONFIRM);
	copy_mac(p->mac, src->mac);
	p->class = v->flags & VTEP_PLAIN ? NO_CLASS : dst->class;
	return ANSWER;
}

// back sends a frame through the kernel's own encapsulation to where a packet
// came from: ARP is none that bpf_skb_adjust_room would take.
static __noinline int back(struct __sk_buff *skb, const struct packet *p)
{
	struct settings *c = settings();
	struct bpf_tunnel_key key = {.tunnel_id = p->vni, .tunnel_ttl = 64};
	__u64 flags = BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT;
	__u32 class = p->class == NO_CLASS ? 0 : p->class; // of 0 the kernel says nothing

	if (!c)
		return SHOT;
	if (c->dscp != COPY_DSCP)
		key.tunnel_tos = c->dscp;
	if (outer6) {
		flags |= BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(key.remote_ipv6, p->vtep, 16);
		__builtin_memcpy(key.local_ipv6, c->vtep, 16);
	} else {
		key.remote_ipv4 = bpf_ntohl(p->vtep[3]);
		key.local_ipv4 = bpf_ntohl(c->vtep[3]);
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) || bpf_skb_set_tunnel_opt(skb, &class, sizeof(class)))
		return SHOT;
	return bpf_redirect(c->vxlan, 0);
}

// answer_back answers a decapsulated frame that was asked.
__noinline int answer_back(struct __sk_buff *skb, struct packet *p, __u32 length)
{
	struct dest *dst = p ? dest_at(p->dst_slot) : 0;
	__u8 mac[8] __attribute__((aligned(8)));

	if (!p || !dst)
		return SHOT;
	copy_mac(mac, dst->mac);
	if (!answer(skb, p, mac))
		return drop_for(p, length, MALFORMED);
	tell(p, ANSWERED, 0, 0);
	return back(skb, p);
}
