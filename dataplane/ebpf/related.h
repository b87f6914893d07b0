//go:build ignore

// Packets that are judged by another one: an ICMP error by the flow that it is
// about, and a later fragment by its first.
#pragma once

#define ERRORS 10 // about one flow, at once

// about judges an ICMP error by the flow whose packet it quotes, in that flow's
// direction. It returns -1 where there is none.
__noinline int about(struct packet *p, const struct dest *src, const struct dest *dst)
{
	if (!p || !src || !dst)
		return DROP;
	__u16 src_port = p->src_port, dst_port = p->dst_port;
	__u8 proto = p->proto;
	int j = -1;

	p->proto = p->about_proto;
	p->src_port = p->about_src;
	p->dst_port = p->about_dst;
	__u32 other = beyond(p, dst);
	sort(p);
	struct flow *f = seek(p);
	if (!f && other)
		f = seek_on(p, other);
	int from = p->swapped & 1;
	if (f && f->uid[from] == src->uid && f->uid[!from] == dst->uid && !expired(f, p->proto, now_ticks())) {
		int backwards = f->initiator != from;
		struct question *q = question();
		if (!q)
			return DROP;
		q->asked = backwards ? p->src_port : p->dst_port;
		q->own = p->asked;
		q->proto = p->proto;
		q->own_proto = proto;
		q->answers = 1;
		q->tells = 0;
		j = between(p, src, dst, backwards);
		struct settings *c = settings();
		if (j == FORWARD && q->by_own)
			j = -1; // that is judged by itself
		if (j == FORWARD && (!c || !paced(&f->error_at, c->error_interval, ERRORS * c->error_interval)))
			j = refuse(p, ERROR_LIMIT);
		if (j == FORWARD)
			p->judged = 0;
	}
	p->proto = proto;
	p->src_port = src_port;
	p->dst_port = dst_port;
	return j;
}

static __always_inline void piece_key(const struct packet *p, struct piece_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->vni = p->vni;
	__builtin_memcpy(k->src, p->src, 16);
	__builtin_memcpy(k->dst, p->dst, 16);
	k->id = p->piece_id;
	k->proto = p->v6 ? 0 : p->proto; // RFC 8200: pieces may say different things of it
}

// note_piece remembers what a first fragment was let through by.
__noinline int note_piece(struct packet *p)
{
	if (!p)
		return 0;
	struct dest *src = dest_at(p->src_slot), *dst = dest_at(p->dst_slot);
	struct piece_key k;
	struct piece v = {
		.at = now_ticks(), .asked = p->backwards ? p->src_port : p->asked, .own = p->asked, .proto = p->proto, .backwards = p->backwards,
	};

	if (!src || !dst)
		return 0;
	v.uid[0] = src->uid;
	v.uid[1] = dst->uid;
	piece_key(p, &k);
	bpf_map_update_elem(&pieces, &k, &v, BPF_ANY);
	return 0;
}

// first_of finds what the first fragment was judged by that a later one belongs to.
static __noinline struct piece *first_of(const struct packet *p)
{
	struct piece_key k;
	piece_key(p, &k);
	struct piece *first = bpf_map_lookup_elem(&pieces, &k);
	return first && (__s32)(now_ticks() - first->at) <= (__s32)SECONDS(1) ? first : 0;
}

// later judges a fragment without transport header: as its first one was.
__noinline int later(struct packet *p, const struct dest *src, const struct dest *dst)
{
	if (!p || !src || !dst)
		return DROP;
	struct piece *first = first_of(p);
	if (!first || first->uid[0] != src->uid || first->uid[1] != dst->uid) {
		// The first may be waiting for the very answer.
		struct pair_key pk = {.domain = p->domain, .src = src->class, .dst = dst->class};
		if (!bpf_map_lookup_elem(&pairs, &pk))
			return lacks(p, WANT_PAIR);
		return lacks(p, !p->again && behind(p) ? WANT_TURN : WANT_FIRST);
	}
	struct question *q = question();
	if (!q)
		return DROP;
	q->asked = first->asked;
	q->own = first->own;
	q->proto = q->own_proto = first->proto;
	q->answers = first->backwards;
	q->tells = 0;
	int j = between(p, src, dst, first->backwards);
	if (j == FORWARD)
		p->judged = 0;
	return j;
}
