//go:build ignore

// What is told of a packet: counters that never lose one, events (drops and
// hints) that are a sample, and in tests the outcome.
#pragma once

// Constant after load: 1 where no device exists, ports are told by skb->mark,
// and each packet's outcome is kept for the test to read.
volatile const __u8 testing = 0;

// Named here for the generated Go to know the numbers.
volatile const enum dest_kind named_dest_kind = 0;
volatile const enum reason named_reason = 0;
volatile const struct event named_event = {};
volatile const struct gc_args named_gc_args = {};

#define SHOT 2 // TC_ACT_SHOT
#define SAMPLE_TICKS 8 // a little over one second

// said_of is what a rule has told of a packet that it decided about.
static __always_inline __u8 said_of(const struct packet *p)
{
	return p->kind == KIND_IP && (!p->reason || p->reason == POLICY) ? p->said : 0;
}

__noinline int keep_outcome(const struct packet *p, int action, const struct dest *src, const struct dest *dst)
{
	__u32 zero = 0;
	struct question *q = question();
	if (!p || !q)
		return 0;
	struct outcome o = {
		.action = action,
		.reason = p->reason,
		.want = p->want,
		.judged = p->judged,
		.rule = p->rule,
		.table = p->table,
		.port = p->port,
		.vni = p->vni,
		.class = p->class,
		.hinted = p->hinted,
		.said = said_of(p),
		.would = q->would,
	};
	__builtin_memcpy(o.vtep, p->vtep, 16);
	if (action == TUNNELED && src && dst) {
		struct route *r = bpf_map_lookup_elem(&routes, &p->dst_slot);
		__builtin_memcpy(o.vtep, dst->vtep, 16);
		o.class = src->class;
		if (r && dst->flags & DEST_ROUTED)
			o.vni = r->vni;
	}
	if (action == DELIVERED && dst)
		o.port = dst->port;
	bpf_map_update_elem(&last_outcome, &zero, &o, BPF_ANY);
	return 0;
}

static __always_inline void tell(const struct packet *p, enum action action, const struct dest *src, const struct dest *dst)
{
	if (testing)
		keep_outcome(p, action, src, dst);
}

static __always_inline int due(const struct packet *p)
{
	struct sample_key k = {
		.vni = p->vni,
		.src_port = p->src_port,
		.dst_port = p->dst_port,
		.proto = p->proto,
		.reason = p->reason,
		.said = said_of(p),
	};
	__u32 now = now_ticks();

	__builtin_memcpy(k.src, p->src, 16);
	__builtin_memcpy(k.dst, p->dst, 16);
	__u32 *last = bpf_map_lookup_elem(&sampled, &k);
	if (last && now - *last < SAMPLE_TICKS)
		return 0;
	bpf_map_update_elem(&sampled, &k, &now, BPF_ANY);
	return 1;
}

// emit tells of a packet, unless enough has been told.
__noinline int emit(struct packet *p)
{
	if (!p)
		return 0;
	struct settings *c = settings();
	__u32 port = p->port & 0xffff;
	struct port_state *s = bpf_map_lookup_elem(&port_states, &port);

	__u8 said = said_of(p);

	if (!c || !s || !due(p))
		return 0;
	if (!paced(said ? &s->said_at : &s->events_at[p->reason == 0], c->event_interval, c->event_burst))
		return 0;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->port = p->port;
	e->vni = p->vni;
	__builtin_memcpy(e->src, p->src, 16);
	__builtin_memcpy(e->dst, p->dst, 16);
	e->src_port = p->src_port;
	e->dst_port = p->dst_port;
	e->proto = p->proto;
	e->reason = p->reason;
	e->direction = p->direction;
	e->backwards = p->backwards;
	e->said = said;
	if (p->reason == POLICY || said) {
		e->table = p->table;
		e->rule = p->rule;
		struct question *q = question();
		e->would = q ? q->would : 0;
	}
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// hint tells, now and then, that a group id is not what the DPC said of the
// source: an event of no reason. The packet goes on.
__noinline int hint(struct packet *p)
{
	if (!p)
		return 0;
	p->hinted = 1;
	emit(p);
	return 0;
}

// count counts a packet under a key.
static __noinline int count(const struct counter_key *k, __u32 length)
{
	struct counter *c = bpf_map_lookup_elem(&counters, k);
	if (!c) {
		struct counter zero = {};
		bpf_map_update_elem(&counters, k, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&counters, k);
	}
	if (c) {
		c->packets++;
		c->bytes += length;
	}
	return 0;
}

// heed does what the rule wants that a flow was judged by: it counts for what rules
// in shadow would say, and tells of what passes. What does not is told as a drop.
__noinline int heed(struct packet *p, int passes)
{
	struct question *q = question();
	if (!p || !q)
		return 0;
	if (p->said & RULE_WOULD) {
		struct counter_key k = {.port = p->domain, .table = p->table, .rule = q->would, .would = WOULD_BE};
		if (p->said & RULE_WOULD_ALLOW)
			k.would |= WOULD_ALLOW;
		if (passes)
			k.would |= WOULD_NOW;
		count(&k, 0);
	}
	if (passes)
		emit(p);
	return 0;
}

__noinline int drop(struct packet *p, __u32 length)
{
	if (!p)
		return SHOT;
	struct counter_key k = {.port = p->port, .reason = p->reason};
	__u32 reason = p->reason;
	struct counter *c = bpf_map_lookup_elem(&reasons, &reason);

	if (c) {
		c->packets++;
		c->bytes += length;
	}
	if (p->reason == POLICY) {
		k.table = p->table;
		k.rule = p->rule;
	}
	count(&k, length);
	tell(p, DROPPED, 0, 0);
	emit(p);
	return SHOT;
}

static __always_inline int drop_for(struct packet *p, __u32 length, enum reason r)
{
	p->reason = r;
	return drop(p, length);
}
