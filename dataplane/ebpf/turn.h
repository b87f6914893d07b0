//go:build ignore

// What waits for the agent is not overtaken: as long as a packet between two
// addresses is held, or on its way to the agent and back, later ones that no flow
// speaks for, or one that has packets among them, take the same way, behind it. Each is counted when it leaves for the
// agent (ask), and taken back once the agent has given it back or up (yield).
#pragma once

static __always_inline void turn_key(const struct packet *p, struct turn_key *k)
{
	k->vni = p->vni;
	if (p->swapped) {
		__builtin_memcpy(k->lo, p->dst, 16);
		__builtin_memcpy(k->hi, p->src, 16);
	} else {
		__builtin_memcpy(k->lo, p->src, 16);
		__builtin_memcpy(k->hi, p->dst, 16);
	}
}

// lost reports whether what waits has done so for so long that the agent cannot
// have it any more.
static __always_inline int lost(const struct turn *t)
{
	struct settings *c = settings();
	return c && c->turn_ticks && (__s32)(now_ticks() - t->since) > (__s32)c->turn_ticks; // another CPU may be a tick ahead
}

// behind reports whether some that go a packet's way wait, and notes in stale whether
// any do: what goes the other way may pass, but must not make the flow known that
// others wait to go on with.
__noinline int behind(struct packet *p)
{
	struct turn_key k;

	if (!p)
		return 0;
	sort(p);
	turn_key(p, &k);
	struct turn *t = bpf_map_lookup_elem(&turns, &k);
	if (!t || lost(t))
		return 0;
	p->stale = t->waiting[0] || t->waiting[1];
	return !!t->waiting[p->swapped & 1];
}

// queue counts a packet that leaves for the agent. One whose sender is to be
// confirmed does not count, for whoever forges it would hold up the true one's, nor
// a piece that came before the first.
__noinline int queue(struct packet *p)
{
	struct turn_key k;

	if (!p || p->kind != KIND_IP || !p->proto || p->want == WANT_CONFIRM || p->want == WANT_FIRST)
		return 0;
	sort(p);
	turn_key(p, &k);
	struct turn *t = bpf_map_lookup_elem(&turns, &k);
	if (!t) {
		struct turn none = {.since = now_ticks()};
		bpf_map_update_elem(&turns, &k, &none, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&turns, &k);
		if (!t)
			return 0;
	}
	if ((!t->waiting[0] && !t->waiting[1]) || lost(t)) {
		t->waiting[0] = t->waiting[1] = 0;
		t->since = now_ticks();
	}
	__sync_fetch_and_add(&t->waiting[p->swapped & 1], 1);
	struct flow *f = seek(p);
	if (f)
		f->gen[0] = f->gen[1] = STALE;
	return 0;
}

struct yield_args {
	__u32 vni;
	__be32 src[4], dst[4];
	__u16 src_port, dst_port;
	__u32 v6;
};

volatile const struct yield_args named_yield_args = {};

// yield says that a packet which left for the agent has gone its way, or nowhere.
SEC("syscall")
int yield(struct yield_args *a)
{
	struct packet p = {.vni = a->vni, .src_port = a->src_port, .dst_port = a->dst_port, .v6 = a->v6};
	struct turn_key k;

	__builtin_memcpy(p.src, a->src, 16);
	__builtin_memcpy(p.dst, a->dst, 16);
	sort(&p);
	turn_key(&p, &k);
	struct turn *t = bpf_map_lookup_elem(&turns, &k);
	if (t)
		less(&t->waiting[p.swapped & 1]);
	return 0;
}
