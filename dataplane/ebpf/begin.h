//go:build ignore

// A flow begins: its place among those of its port and its domain, and its entry.
#pragma once

// left is how many of so many there are after one more is taken.
static __always_inline __u32 left(__u32 limit, __u32 taken)
{
	return taken + 1 < limit ? limit - taken - 1 : 0;
}

// charge takes a place for a flow that begins at a port, of the port's, its
// domain's and all there are; one is 1 unless the flow is confirmed. It returns why
// there is none.
__noinline int charge(__u32 port, __u32 one)
{
	__u32 zero = 0;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port), *all = bpf_map_lookup_elem(&port_states, &zero);
	struct domain_state *d = s ? domain_of(s) : 0;
	int full = 0;

	if (!s || !all || !d)
		return NO_PORT;
	if (__sync_fetch_and_add(&d->flows, 1) >= SHARE * (__u64)left(all->budget, __sync_fetch_and_add(&all->flows, 1)))
		full = FLOW_TABLE_FULL;
	if (one && __sync_fetch_and_add(&d->unconfirmed, 1) >=
			   SHARE * (__u64)left((all->budget + 1) / 2, __sync_fetch_and_add(&all->unconfirmed, 1)))
		full = FLOW_TABLE_FULL;
	if (__sync_fetch_and_add(&s->flows, 1) >= s->budget)
		full = FLOW_BUDGET;
	if (one && __sync_fetch_and_add(&s->unconfirmed, 1) >= (s->budget + 1) / 2)
		full = FLOW_BUDGET;
	if (full)
		free_budget(port, one ? 0 : FLOW_CONFIRMED);
	return full;
}

// begin stores an entry that is not there yet, if its port may have another.
__noinline int begin(struct packet *p, struct flow *f)
{
	if (!p || !f)
		return DROP;
	int full = charge(p->port, !(f->state & FLOW_CONFIRMED));
	if (full)
		return refuse(p, full);
	long failed = store(p, f, BPF_NOEXIST);
	if (!failed)
		return FORWARD;
	free_budget(p->port, f->state);
	return failed == -17 ? FORWARD // another CPU has begun it, with a packet of the same flow
			     : refuse(p, FLOW_TABLE_FULL);
}

// join gives a flow that began at the other end's network an entry under the
// packet's own.
__noinline int join(struct packet *p, struct flow *new, __u32 other, __u32 length)
{
	if (!p || !new)
		return DROP;
	new->twin = other;
	new->port = p->port;
	int j = begin(p, new);
	if (j != FORWARD)
		return j;
	p->judged = 0;
	struct flow *f = seek(p), *first = seek_on(p, other);
	if (first)
		first->twin = p->vni;
	if (f) {
		touch(p, f, length, now_ticks());
		also(p, f, length);
	}
	return FORWARD;
}
