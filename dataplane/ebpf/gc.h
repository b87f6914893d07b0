//go:build ignore

// Forgets what has expired, and what a port leaves behind that is closed. The agent walks
// the flow tables, a piece at a time: a program that does keeps everybody else off its CPU. It
// names the flows that seem over, and gc looks again.
#pragma once

struct gc_walk {
	__u32 now, port, moved, v6, deleted;
};

// port_with is the port that packets to a life at an address end at, 0: none.
static __always_inline __u32 port_with(__u32 vni, const __be32 *addr, __u64 life, int *routed)
{
	struct dest *d = end_at(vni, addr, life);
	if (!d || !is_port(d))
		return 0;
	*routed |= d->flags & DEST_ROUTED;
	return d->port;
}

// inherit leaves a flow to the port of its other end.
static __always_inline void inherit(struct flow *f, __u32 heir)
{
	__u32 port = f->port;
	struct port_state *from = bpf_map_lookup_elem(&port_states, &port), *to = bpf_map_lookup_elem(&port_states, &heir);
	if (!from || !to)
		return;
	less(&from->flows);
	__sync_fetch_and_add(&to->flows, 1);
	if (!(f->state & FLOW_CONFIRMED)) {
		less(&from->unconfirmed);
		__sync_fetch_and_add(&to->unconfirmed, 1);
	}
	f->port = heir;
}

enum { STAYS, OVER, OVER_HERE };

// over reports whether a flow is to be forgotten, or with OVER_HERE but this
// entry of it.
static __always_inline int over(struct flow *f, __u8 proto, __u32 vni, const __be32 *lo, const __be32 *hi,
				const struct gc_walk *w)
{
	if (expired(f, proto, w->now))
		return OVER;
	if (!w->port)
		return STAYS;
	int routed = 0, far = 0;
	__u32 a = port_with(vni, lo, f->uid[0], &routed), b = port_with(vni, hi, f->uid[1], &far);
	if (a != w->port && b != w->port) { // who is here still may know already where it went
		if (f->port != w->port)
			return STAYS;
		if (!w->moved || (a && b) || !(a | b) || routed | far)
			return OVER;
		inherit(f, a | b);
		return STAYS;
	}
	__u32 heir = a == w->port ? b : a;
	if (a == w->port)
		routed = far;
	if (!w->moved)
		return OVER;
	if (!heir)
		heir = f->port; // of who is but allowed its address
	if (heir == w->port || routed)
		return OVER_HERE;
	inherit(f, heir);
	return STAYS;
}

// gc_twin4 and gc_twin6 forget the other entry of a flow that is forgotten.
static __noinline void gc_twin4(const struct flow4_key *of, __u32 vni)
{
	struct flow4_key k = *of;
	k.vni = vni;
	struct flow *f = bpf_map_lookup_elem(&flows4, &k);
	if (!f || f->twin != of->vni)
		return;
	__u32 port = f->port, state = f->state;
	if (!bpf_map_delete_elem(&flows4, &k))
		free_budget(port, state);
}

static __noinline void gc_twin6(const struct flow6_key *of, __u32 vni)
{
	struct flow6_key k = *of;
	k.vni = vni;
	struct flow *f = bpf_map_lookup_elem(&flows6, &k);
	if (!f || f->twin != of->vni)
		return;
	__u32 port = f->port, state = f->state;
	if (!bpf_map_delete_elem(&flows6, &k))
		free_budget(port, state);
}

static long gc_one4(const struct flow6_key *of, struct gc_walk *w)
{
	struct flow4_key k = {.vni = of->vni, .lo = of->lo[3], .hi = of->hi[3], .lo_port = of->lo_port, .hi_port = of->hi_port, .proto = of->proto};
	struct flow *f = bpf_map_lookup_elem(&flows4, &k);
	if (!f)
		return 0;
	__u32 port = f->port, state = f->state, twin = f->twin;
	int what = over(f, k.proto, k.vni, of->lo, of->hi, w);
	if (what != STAYS && !bpf_map_delete_elem(&flows4, &k)) {
		free_budget(port, state);
		if (twin && what == OVER)
			gc_twin4(&k, twin);
		w->deleted++;
	}
	return 0;
}

static long gc_one6(const struct flow6_key *k, struct gc_walk *w)
{
	struct flow *f = bpf_map_lookup_elem(&flows6, k);
	if (!f)
		return 0;
	__u32 port = f->port, state = f->state, twin = f->twin;
	int what = over(f, k->proto, k->vni, k->lo, k->hi, w);
	if (what != STAYS && !bpf_map_delete_elem(&flows6, k)) {
		free_budget(port, state);
		if (twin && what == OVER)
			gc_twin6(k, twin);
		w->deleted++;
	}
	return 0;
}

static long gc_one(__u32 i, struct gc_walk *w)
{
	struct flow6_key *k = bpf_map_lookup_elem(&named, &i);
	if (!k)
		return 1;
	return w->v6 ? gc_one6(k, w) : gc_one4(k, w);
}
