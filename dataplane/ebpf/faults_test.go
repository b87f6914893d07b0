package ebpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"dove.network/faulttest"
	"dove.network/privtest"
)

// fault is a mistake that the programs could have.
type fault faulttest.Fault

// Each of faults must be caught by a check that compares the programs with something
// else. Keep the list: a bug that the checks once missed belongs here too.
var faults = []fault{
	{"the port is byte-swapped in the rules' key", "verdict.h", "port[0] = asked >> 8;\n\tq->key.port[1] = asked;", "port[0] = asked;\n\tq->key.port[1] = asked >> 8;"},
	{"the pair's generation is ignored", "judge.h", " || ps->gen != f->pair_gen)", ")"},
	{"a SYN of the responder is an answer", "flow.h", "(f->initiator != p->swapped || FLOW_CLOSED(f->state))", "FLOW_CLOSED(f->state)"},
	// Those above are tried in each test run, those below by make faults.

	{"time stands still", "flow.h", "if (said_at != at)", "if (!said_at)"},
	{"the sender's generation is ignored", "judge.h", "src->gen != f->gen[side] || ", ""},
	{"the receiver's generation is ignored", "judge.h", "dst->gen != f->gen[!side] || ", ""},
	{"the overlay's class is believed", "verdict.h", "backwards ? dst->class : src->class", "backwards ? dst->class : p->class ?: src->class"},
	{"another class than held is not told on live flows", "judge.h", "\t\thint(p);\n\t}\n\tif (dst->kind", "\t}\n\tif (dst->kind"},
	{"another class than held is not told on new flows", "anew.h", "\t\t\thint(p);", "\t\t\t;"},
	{"the overlay's VTEP is compared with nothing", "ends.h", "src->kind == DEST_REMOTE && same_vtep(src->vtep, p->vtep) && ", "src->kind == DEST_REMOTE && "},
	{"a VTEP that left the fleet is admitted on live flows", "ends.h", " && src->flags & DEST_ADMITTED)", ")"},
	{"any VTEP is of the fleet", "dswitch.c", "if (!v)\n\t\treturn UNKNOWN_VTEP;\n\tp->foreign = v->flags & VTEP_FOREIGN;", ""},
	{"reserved bits of the overlay pass", "dswitch.c", "at->flags == 0x88 && at->flags2 == 0 && !(at->vni & bpf_htonl(0xff))", "at->flags == 0x88"},
	{"a missing pair allows", "verdict.h", "struct rule *r = row(p, q, 0);\n\tif (!r)\n\t\treturn lacks(p, WANT_PAIR);", "struct rule *r = row(p, q, 0);\n\tif (!r)\n\t\treturn FORWARD;"},
	{"the verdict is read the wrong way round", "verdict.h", "int allow = r->allow;", "int allow = !r->allow;"},
	{"the protocol is no part of the rules' key", "verdict.h", "q->key.proto = own ? q->own_proto : q->proto;", "q->key.proto = PROTO_TCP;"},
	{"rules of answers are asked in the answer's direction", "anew.h", "int backwards = live && new->initiator != from;", "int backwards = 0;"},
	{"answers are judged by the port they go to", "anew.h", "backwards ? p->src_port : p->asked", "p->asked"},
	{"a guest may send with any MAC", "dswitch.c", "p->sender_differs || !same_mac(p->mac, port->mac)", "p->sender_differs"},
	{"ARP may tell any MAC", "dswitch.c", "p->sender_differs || !same_mac(p->mac, port->mac)", "!same_mac(p->mac, port->mac)"},
	{"a guest may begin flows of other local guests", "anew.h", "!has_src || !is_port(src) || src->port != p->port", "!has_src || !is_port(src)"},
	{"a guest may go on with flows of other local guests", "judge.h", "src->port != p->port || !is_port(src)", "!is_port(src)"},
	{"ARP may be asked in another guest's name", "neighbor.h", "!is_port(src) || src->flags & DEST_ROUTED || src->port != p->port", "!is_port(src)"},
	{"absent marks are skipped", "anew.h", "if (a && now_ns() < a->end)", "if (0)"},
	{"absent marks never end", "anew.h", "if (a && now_ns() < a->end)", "if (a)"},
	{"hidden guests are reachable", "verdict.h", "if (j == FORWARD && (src->kind == DEST_HIDDEN || dst->kind == DEST_HIDDEN))", "if (0)"},
	{"the largest packet is too big for a new flow", "anew.h", "\t\tif (p->size > p->mtu)", "\t\tif (p->size >= p->mtu)"},
	{"one byte too many passes on a live flow", "judge.h", "\n\tif (p->size > p->mtu)", "\n\tif (p->size > p->mtu + 1)"},
	{"the receiver's MTU is not checked", "anew.h", "if (p->size > dst->mtu)", "if (0)"},
	{"another endpoint with the address goes on with its flows", "anew.h", "new->uid[from] != src->uid || new->uid[!from] != dst->uid", "0"},
	{"echo requests may go against their flow", "flow.h", "(p->echo == ECHO_REQUEST && f->initiator != p->swapped) ||\n\t       ", ""},
	{"an echo reply begins a flow", "anew.h", "p->echo == NO_ECHO || (p->echo == ECHO_REPLY && !live)", "p->echo == NO_ECHO"},
	{"a port has one flow too many", "begin.h", ">= s->budget", "> s->budget"},
	{"one domain takes the whole flow table", "begin.h", "SHARE * (__u64)left(all->budget, ", "0xffff * (__u64)left(all->budget, "},
	{"one domain takes all flows without answers", "begin.h", "SHARE * (__u64)left((all->budget + 1) / 2, ", "0xffff * (__u64)left((all->budget + 1) / 2, "},
	{"a forgotten flow stays its domain's", "flow.h", "\tif (d)\n\t\tless(&d->flows);\n", ""},
	{"a confirmed flow stays one of its domain's others", "flow.h", "\tif (d)\n\t\tless(&d->unconfirmed);\n", ""},
	{"a forgotten flow keeps its budget", "flow.h", "\tif (!failed)\n\t\tfree_budget(port, state);\n", "\tif (failed)\n\t\tfree_budget(port, state);\n"},
	{"flows of different networks are one", "flow.h", "k->vni = p->vni;\n\tk->lo = ", "k->vni = 0;\n\tk->lo = "},
	{"an answer does not count as one", "flow.h", "if (!from_initiator)\n\t\tis |= FLOW_REPLIED;", ""},
	{"a reset flow is not closed", "flow.h", "if (p->tcp & TCP_RST)\n\t\t\tis |= FLOW_RST;", ""},
	{"a first answer confirms a connection", "flow.h", "(!(is & FLOW_SYN) || (from_initiator && !(p->tcp & TCP_SYN)))", "1"},
	{"a connection is confirmed by its first packet said again", "flow.h", "(from_initiator && !(p->tcp & TCP_SYN))", "from_initiator"},
	{"flows without answers take all of a port's budget", "begin.h", "(s->budget + 1) / 2", "s->budget"},
	{"a confirmed flow stays among the others", "flow.h", "\tif (s && all)\n\t\tbegun(", "\tif (0)\n\t\tbegun("},
	{"a flow does not count its bytes", "flow.h", "f->bytes[leg] += length;", "f->bytes[leg] += length + 1;"},
	{"flows live on", "judge.h", "if (expired(f, p->proto, now) || opens(p, f))", "if (opens(p, f))"},
	{"flows that are over keep their direction", "anew.h", "if (f && !expired(new, p->proto, now)) {", "if (f) {"},
	{"closed TCP is remembered", "flow.h", "if (FLOW_CLOSED(f->state))\n\t\t\treturn SECONDS(10);", ""},
	{"old flows are not forgotten", "gc.h", "if (expired(f, proto, w->now))\n\t\treturn OVER;", ""},
	{"flows that go on are forgotten", "gc.h", "if (expired(f, proto, w->now))", "if (1)"},
	{"only the first flow of a piece is forgotten", "dswitch.c", "bpf_loop(args->named, gc_one, &w, 0);", "bpf_loop(1, gc_one, &w, 0);"},
	{"a rule's first drop is not counted", "report.h", "\t\tc = bpf_map_lookup_elem(&counters, k);\n\t}", "\t}"},
	{"drops are counted without their port", "report.h", "{.port = p->port, .reason = p->reason}", "{.reason = p->reason}"},
	{"drops by policy are counted without their rule", "report.h", "\t\tk.rule = p->rule;\n", ""},
	{"what comes back may miss for the same again", "ends.h", "if (!p->again || p->again_want != want)", "if (1)"},
	{"what comes back is given to a port that has moved on", "dswitch.c", "!port || port->life != life", "!port"},
	{"what comes back has no VTEP", "dswitch.c", "__builtin_memcpy(p->vtep, addr->addr, 16);", ";"},
	{"the want is not told to the agent", "forward.h", "port >> 8, port, p->want, s->life}", "port >> 8, port, 0, s->life}"},
	{"the class travels in the wrong byte order", "forward.h", "o->class = bpf_htons(src->class);\n\to->vni", "o->class = src->class;\n\to->vni"},
	{"the receiver's network travels, shifted", "forward.h", "bpf_htonl(vni << 8)", "bpf_htonl(vni)"},
	{"the inner target MAC is what the guest wrote", "forward.h", "copy_mac(inner->dst, dst->mac);\n\tcopy_mac(inner->src, from);\n\tinner->type", "copy_mac(inner->dst, first->dst);\n\tcopy_mac(inner->src, from);\n\tinner->type"},
	{"the inner source MAC is believed", "forward.h", "copy_mac(e->src, from);\n\te->type", "e->type"},
	{"the outer checksum loses its carry", "forward.h", "s = (s >> 16) + (s & 0xffff);\n\treturn ~((s >> 16) + s);", "return ~s;"},
	{"an own address is answered for", "neighbor.h", "if (is_port(dst) && dst->port == p->port)", "if (0)"},
	{"advertisements are not solicited", "neighbor.h", "bpf_htonl(0x60000000), .option", "bpf_htonl(0x20000000), .option"},
	{"later fragments begin flows", "parse.h", "p->piece = offset ? LATER : FIRST;", "p->piece = FIRST;"},
	{"fragments may lie over ports", "parse.h", "offset && offset < least ? FRAGMENT : 0", "0"},
	{"what waits is overtaken", "anew.h", "if (waits && joins && !p->again)", "if (0 && waits)"},
	{"a flow that begins among those that wait is known", "anew.h", "p->stale = p->again || (p->stale && joins);", "p->stale = 0;"},
	{"what answers makes the flow known", "turn.h", "p->stale = t->waiting[0] || t->waiting[1];", "p->stale = 0;"},
	{"a flow goes on while a packet of it waits", "turn.h", "f->gen[0] = f->gen[1] = STALE;", ";"},
	{"whoever is to be confirmed is waited for", "turn.h", "p->want == WANT_CONFIRM || ", ""},
	{"nothing is over that waited", "turn.h", "less(&t->waiting[p.swapped & 1]);", ";"},
	{"what waits does so for ever", "turn.h", "(__s32)(now_ticks() - t->since) > (__s32)c->turn_ticks", "0"},
	{"a denial counts unasked", "verdict.h", "if (ps && p->direction == IN_OVERLAY && !p->foreign && ps->asked != q->gen)", "if (0)"},
	{"a denial is asked about again and again", "verdict.h", "ps->asked = q->gen;", ";"},
	{"later fragments pass alone", "related.h", "return lacks(p, !p->again && behind(p) ? WANT_TURN : WANT_FIRST);", "return FORWARD;"},
	{"later fragments wait for ever", "ends.h", "if (want == WANT_FIRST)\n\t\treturn refuse(p, FRAGMENT);", "if (want == WANT_FIRST)\n\t\treturn MISS;"},
	{"later fragments pass by a first one of anybody", "related.h", "\tk->id = p->piece_id;\n", ""},
	{"later fragments pass whatever became of their flow", "related.h", "between(p, src, dst, first->backwards)", "FORWARD"},
	{"later fragments of answers are judged as they come", "related.h", ".backwards = p->backwards,", ".backwards = 0,"},
	{"destination options are not walked", "parse.h", " && next != 60)", ")"},
	{"headers of the old routing pass", "parse.h", "(next == 43 && b[2] == 0)", "0"},
	{"any error about a flow passes", "related.h", "j = between(p, src, dst, backwards);", "j = FORWARD;"},
	{"errors about somebody else pass", "parse.h", "be16(b + 6) & 0x1fff || word(b + 12) != p->dst[3] || ", "be16(b + 6) & 0x1fff || "},
	{"errors about a flow are not counted", "related.h", "!paced(&f->error_at, c->error_interval, ERRORS * c->error_interval)", "0"},
	{"errors keep a flow alive", "related.h", "\t\tif (j == FORWARD)\n\t\t\tp->judged = 0;\n\t}\n\tp->proto", "\t\tif (j == FORWARD)\n\t\t\ttouch(p, f, 0, now_ticks());\n\t\tp->judged = 0;\n\t}\n\tp->proto"},
	{"congestion is forgotten", "forward.h", "(p->outer_tos & ECN) == ECN && !mark(skb, p, 0)", "0"},
	{"congestion is told to who does not understand", "dswitch.c", "(p->outer_tos & ECN) == ECN && !(p->tos & ECN)", "(p->outer_tos & ECN) == ECN && (p->tos & ECN)"},
	{"the outer header has no ECN", "forward.h", "c->dscp == COPY_DSCP ? p->tos :", "c->dscp == COPY_DSCP ? 0 :"},
	{"IPv6 VTEPs are compared by their last word", "ends.h", "outer6 ? same16(a, b) : a[3] == b[3]", "a[3] == b[3]"},
	{"the outer IPv6 header has no traffic class", "forward.h", "(__u32)tos << 20 | port", "port"},
	{"the outer IPv6 header's congestion is not read", "dswitch.c", "p.outer_tos = bpf_ntohl(ip->version) >> 20;", ""},
	{"the flow label says nothing of the flow", "forward.h", "(__u32)tos << 20 | port)", "(__u32)tos << 20)"},
	{"anybody may leave out the group policy id", "dswitch.c", "!well_formed || (p->class == NO_CLASS && !p->foreign)", "!well_formed"},
	{"anybody may leave out the group policy id of a live flow", "judge.h", "if (p->class == NO_CLASS) {", "if (0) {"},
	{"what is foreign may ask in anybody's name", "foreign.h", " || !same_vtep(src->vtep, p->vtep))\n\t\treturn lacks", ")\n\t\treturn lacks"},
	{"what is foreign may ask in nobody's name", "foreign.h", "\tif (p->kind == KIND_SOLICIT && (p->src[0]", "\tif (0 && (p->src[0]"},
	{"what is foreign and plain is sent a group policy id", "forward.h", "dst->flags & DEST_PLAIN && !o->flags2", "0"},
	{"the class that a foreign VTEP says is told as another", "ends.h", "src->flags & DEST_FOREIGN && same_vtep", "0 && same_vtep"},
	{"any VTEP is answered that asks", "dswitch.c", "!fault && asks && p->foreign", "!fault && asks"},
	{"the path MTU is told wrong", "toobig.h", "m.mtu = bpf_htons(p->mtu);", "m.mtu = bpf_htons(p->mtu - 1);"},
	{"anybody is believed that policy is applied", "move.h", " || !by_other(p, dst)", ""},
	{"any VTEP is that of another binding", "ends.h", "return same_vtep(d->other, p->vtep) && ", "return "},
	{"another binding at a host that left the fleet is believed", "ends.h", "same_vtep(d->other, p->vtep) && d->flags & DEST_OTHER_ADMITTED", "same_vtep(d->other, p->vtep)"},
	{"a port on standby hands on unjudged", "anew.h", "int j = between(p, src, dst, backwards);\n\tif (j != FORWARD)", "int j = between(p, src, dst, backwards);\n\tif (j != FORWARD && dst->kind != DEST_STANDBY)"},
	{"a port on standby is delivered to", "forward.h", "\tif (!is_local(dst))\n\t\treturn hand_on(skb, p, length);\n", ""},
	{"what is handed on does not say so", "forward.h", "o->flags2 = APPLIED;", "o->flags2 = 0;"},
	{"what is handed on after all does not say so", "forward.h", "p->direction == IN_OVERLAY ? APPLIED : 0", "0"},
	{"what a guest sends to a port on standby passes for judged", "forward.h", "p->direction == IN_OVERLAY ? APPLIED : 0", "APPLIED"},
	{"what is handed on loses its mark of congestion", "forward.h", "\t\tif (!mark(skb, p, OUTER_SIZE))\n\t\t\treturn drop_for(p, length, ENCAP_FAILED);\n", ""},
	{"what was handed on has a source of our own", "move.h", "copy_mac(e->src, p->mac);", "copy_mac(e->src, dst->mac);"},
	{"a carried flow sets back one that goes on", "move.h", "(held->packets[0] || held->packets[1]) && ", "0 && "},
	{"what an older layout noted of two guests here is left", "move.h", "(!a->join && ", "("},
	{"a carried flow is left whose other end is on standby here", "move.h", "return d && is_local(d) && d->port", "return d && is_port(d) && d->port"},
	{"a flow that comes with who began it is left for the other end", "move.h", "(!a->join && elsewhere(&p, p.src, a->uid[0]))", "(!a->join && (elsewhere(&p, p.src, a->uid[0]) || elsewhere(&p, p.dst, a->uid[1])))"},
	{"a flow is adopted that is over", "move.h", "expired(&new, a->proto, now) ||", "0 ||"},
	{"who stays loses the flows of who moves", "gc.h", "if (heir == w->port || routed)", "if (1)"},
	{"flows of who moves are nobody's", "gc.h", "\tinherit(f, heir);\n", ""},
	{"flows of who moved are nobody's", "gc.h", "\t\tinherit(f, a | b);\n", ""},
	{"what is handed on needs a row", "move.h", " && received(p))", " && 0)"},
	{"what is handed on for one port is another's", "move.h", "dst = dest_at(permitted(p, p->receiver, 1));", "dst = dest_at(permitted(p, p->receiver + 1, 1));"},
	{"a carried flow is its responder's", "move.h", "new.initiator = from;", "new.initiator = !from;"},
	{"a carried flow that is not confirmed takes no room of those", "begin.h", "charge(p->port, !(f->state & FLOW_CONFIRMED))", "charge(p->port, 0)"},
	{"a packet to a group passes by its MAC", "parse.h", "if (p->to[0] & 1 || b[16] >= 224)", "if (b[16] >= 224)"},
	{"IPv4 options are not skipped", "parse.h", "parse_transport(p, l3 + header, end, total - header)", "parse_transport(p, l3 + 20, end, total - 20)"},
	{"ICMP's code is not asked for", "parse.h", "p->asked = be16(b);", "p->asked = b[0] << 8;"},
	{"a router takes nothing of the TTL", "router.h", "ip[8]--;", ";"},
	{"a router takes nothing of the hop limit", "router.h", "ip[7]--;", ";"},
	{"a packet goes over a router for ever", "route.h", "if (p->ttl <= 1)", "if (!p->ttl)"},
	{"a router forgets the checksum", "router.h", "instead(ip + 10, was, was - 0x100);", ""},
	{"the sender's network travels over a router", "router.h", "p->to_vni = r->vni;", "p->to_vni = p->vni;"},
	{"over a router the sender's MAC stays", "router.h", "copy_mac(p->from, r->far);", ""},
	{"what comes over a router comes from its sender's MAC", "router.h", "copy_mac(p->from, r->gateway);", ""},
	{"a routed row is delivered to from the overlay", "anew.h", "!has_dst || !is_port(dst) || dst->flags & DEST_ROUTED)", "!has_dst || !is_port(dst))"},
	{"all flows take one way", "ways.h", "r->way[draw(p, r->ways) & (WAYS - 1)]", "slot"},
	{"a flow changes its way with the row", "ways.h", "return at ?: r->way[draw", "return r->way[draw"},
	{"an answer goes by any way", "ways.h", "return life_on(p, w->vni, target) == d->uid ? at : 0;", "return life_on(p, w->vni, target) != d->uid ? at : 0;"},
	{"a packet by a way of another host is its flow's", "ways.h", "if (!came_from(p, d))\n\t\treturn 0;", ""},
	{"the way that a packet came by is the one by hash", "ways.h", "if (at == of_flow)\n\t\trank += 8;", "if (at == of_flow)\n\t\trank += 1;"},
	{"the inner source MAC says nothing of the way", "ways.h", "rank += 4;", ";"},
	{"what missed has lost its way", "forward.h", "__u8 src[6] = {end >> 8, end,", "__u8 src[6] = {2, 0xd2,"},
	{"a next hop here may not send what comes back", "ways.h", "own |= returns_at(p, slot, i);", ";"},
	{"anybody here may send what comes back", "ways.h", "is_port(d) && d->port == p->port && w->vni == p->vni", "is_port(d) && w->vni == p->vni"},
	{"what comes to a MAC of several ports is its flow's", "ends.h", "if (target && d->lent == LENT_SEVERAL)\n\t\treturn 0;\n", ""},
	{"a next hop's packets do not say which it is", "forward.h", "if (src->lent && p->direction == IN_GUEST && !is_local(dst))\n\t\t\tfrom = src->mac;", ";"},
	{"later fragments take a way of their own", "ways.h", "return first ? way_of_life(slot, first->uid[target & 1]) : 0;", "return 0;"},
	{"errors take a way of their own", "ways.h", "\tif (p->about) {", "\tif (0) {"},
	{"flows of a way are forgotten with the port of another", "anew.h", "if (!at || !ways_at(*at))\n\t\treturn d;", "return d;"},
	{"the far network's MTU does not matter", "route.h", "if (r->mtu && p->size > r->mtu)", "if (0)"},
	{"a router swallows the echo of anything", "anew.h", "p->echo == ECHO_REQUEST && !p->piece && !p->walked ? ECHO : ", ""},
	{"a router answers with the request's checksum", "router.h", "instead(icmp + 2, was, be16(icmp));\n\treturn !bpf_skb_store_bytes(skb, at,", "return !bpf_skb_store_bytes(skb, at,"},
	{"no route is told as no host", "anew.h", "a->no_route ? NO_ROUTE : NO_ENDPOINT", "NO_ENDPOINT"},
	{"anybody speaks for a router", "anew.h", "if (src->kind == DEST_ROUTER)\n\t\t\treturn refuse(p, SOURCE_MISMATCH);\n", ""},
	{"a reply between two networks here begins anew", "anew.h", "if (!f && other) {", "if (!f && other == 1) {"},
	{"the other entry of a flow is not kept up", "judge.h", "if (f->twin)", "if (0)"},
	{"the other entry of a flow is kept up only while a router is between", "judge.h", "if (f->twin)", "if (dst->flags & DEST_ROUTED && f->twin)"},
	{"a VLAN tag does not matter", "trunk.h", "k->vlan = tci & VLAN_ID;", "k->vlan = 0;"},
	{"the priority is a part of a VLAN tag", "trunk.h", "tci & VLAN_ID;", "tci;"},
	{"a provider's VLAN tag is one", "trunk.h", "type != ETH_VLAN || ", ""},
	{"of two VLAN tags the second does not matter", "trunk.h", " || is_tag(inner)", ""},
	{"a VLAN that nobody has is the device's own", "trunk.h", "k->vlan = 0; // it counts as the device's own\n\treturn 0;", "k->vlan = 0;\n\treturn !bpf_skb_vlan_pop(skb);"},
	{"what the switch says to a guest has no VLAN tag", "trunk.h", "action == SHOT || !p->vlan || ", "1 || "},
	{"what comes back from the agent has no VLAN tag", "dswitch.c", "\t\tp->vlan = k.vlan;\n\t\treturn from_guest", "\t\treturn from_guest"},
	{"what is handed on to a port with a VLAN has no tag", "move.h", "\tif (dst->vlan)\n\t\treturn into_tagged(skb, dst);\n", ""},
	{"another VLAN tag is put on", "trunk.h", "vlan & VLAN_ID)", "(vlan + 1) & VLAN_ID)"},
	{"an entry that lost the other one stays without", "route.h", "if (!twin->twin && ", "if (0 && "},
	{"hints take the place of drops", "report.h", "events_at[p->reason == 0]", "events_at[0]"},
	{"the other entry of a flow stays behind", "route.h", "if (copy->twin) {", "if (0) {"},
	{"what one port is allowed another is too", "anew.h", ".port = port << 1 | p->v6", ".port = (port / 2 * 2 + 1) << 1 | p->v6"},
	{"an allowed MAC serves for any address", "anew.h", " || p->sender_differs || !same_mac(src->mac, p->mac))", " || p->sender_differs)"},
	{"what a port is allowed comes by any MAC", "judge.h", "(!covers(dst, p, 1) || !same_mac(dst->mac, p->to))", "!covers(dst, p, 1)"},
	{"a guest claims what it is allowed but in passing", "neighbor.h", "return a && a->claims;", "return !!a;"},
	{"who has an address keeps it, whoever announces it", "neighbor.h", "if (!from || claim || returns(p, from))", "if (!from || returns(p, from))"},
	{"answers are not held against a table without state", "verdict.h", "if (q->answers && q->alone)", "if (0)"},
	{"what answers is known where an end keeps no state", "anew.h", "FLOW_GUARDED * (q->alone & !p->backwards)", "0"},
	{"answers without state are asked about what the initiator asked for", "verdict.h", "own ? q->own : q->asked", "q->asked"},
	{"what its flow forbids does not pass by itself", "verdict.h", "else if (r->allow && !allow)\n\t\t\tallow = 1;", "else if (0)\n\t\t\t;"},
	{"later fragments of answers are asked about by their number", "related.h", ".own = p->asked,", ".own = 0,"},
	{"errors about a flow pass an end without state", "related.h", "q->answers = 1;", "q->answers = 0;"},
	{"what rules want told is told twice", "verdict.h", "(j == FORWARD && !q->by_own && q->mark == q->told) || ", ""},
	{"both ends tell what rules want told", "verdict.h", " || !(here || initiator->flags & DEST_FOREIGN))", ")"},
	{"while the initiator moves both ends tell", "verdict.h", " && (p->backwards || p->direction != IN_OVERLAY)", ""},
	{"who is behind a foreign VTEP is not told of", "verdict.h", "here || initiator->flags & DEST_FOREIGN", "here"},
	{"what rules in shadow say is not counted", "report.h", "\t\tcount(&k, 0);", "\t\t;"},
	{"ICMPv6 echo is taken for ICMP's", "parse.h", "p->v6 ? 128 : 8", "8"},
}

// shortFaults is how many of the first faults each test run tries.
const shortFaults = 3

// checks are what a fault may be caught by, in this order: what most are caught by, what
// takes the least, the rest. Only hosts in namespaces get to vx_in, which others need not load.
var checks = []check{
	{"agree, seed 1", func(t testing.TB, o Options) { newTwins(t, 1, o).walk(4000) }, false},
	{"lifetimes", lifetimes, false},
	{"expiry in pieces", expireInPieces, false},
	{"stamps", stamps, false},
	{"turns", turns, false},
	{"flow limits", flowLimits, false},
	{"two networks", twoNetworks, false},
	{"lent", lent, false},
	{"trunk", trunk, false},
	{"errors about a flow", errorsAboutFlow, false},
	{"pieces", pieces, false},
	{"left fleet", leftFleet, false},
	{"who is foreign asks", foreignAsks, false},
	{"handed on", handedOn, false},
	{"handed on, allowed", handedAllowed, false},
	{"inherit", inherit, false},
	{"inherit, allowed", inheritAllowed, false},
	{"joined", joinedFlow, false},
	{"rejoin", rejoin, false},
	{"hints beside drops", hintsBesideDrops, false},
	{"agree, seed 2", func(t testing.TB, o Options) { newTwins(t, 2, o).walk(4000) }, false},
	{"agree on ways, seed 5", func(t testing.TB, o Options) { splitTwins(t, 5, o).walk(10000) }, false},
	{"agree on ways, seed 1", func(t testing.TB, o Options) { splitTwins(t, 1, o).walk(40000) }, false},
	{"agree, seed 3", func(t testing.TB, o Options) { newTwins(t, 3, o).walk(40000) }, false},
	{"worlds, seed 6", func(t testing.TB, o Options) { newFabric(t, 6, o).walk(3) }, false},
	{"ways of what missed", waysOfMissed, true},
}

type check struct {
	name string
	run  func(testing.TB, Options)
	vxIn bool
}

// TestFaults builds the programs with one fault at a time and expects a check to
// catch each, and none to catch the programs as they are.
func TestFaults(t *testing.T) {
	privtest.Require(t)
	if _, err := exec.LookPath("clang-19"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("clang-19 is missing, run make setup: %v", err)
	}
	tried := faulttest.Tried(faults, shortFaults)
	began := time.Now()
	dir, flags := t.TempDir(), cflags(t)
	second := checks[1]
	for i, fault := range tried {
		t.Run(fault.Name, func(t *testing.T) {
			by, said := caught(t, build(dir, flags, fault), second)
			left := time.Since(began) / time.Duration(i+1) * time.Duration(len(tried)-i-1)
			t.Logf("%d of %d, some %d minutes left", i+1, len(tried), int(left.Minutes()))
			if by.run == nil {
				t.Fatal("no check noticed it")
			}
			t.Logf("caught by %s: %s", by.name, said)
			if by.name != checks[0].name {
				second = by // the next fault is about the same thing as often as not
			}
		})
	}
	if !faulttest.All() {
		return
	}
	t.Run("no fault", func(t *testing.T) {
		if by, said := caught(t, build(dir, flags, fault{}), second); by.run != nil {
			t.Errorf("caught by %s, though nothing was changed: %s", by.name, said)
		}
	})
}

func TestFaultsAreThere(t *testing.T) { faulttest.AreThere(t, ".", faults) }

// object is the programs with a fault in them, or why there is none.
type object struct {
	spec []byte
	err  error
}

// build compiles a copy of the programs with a fault in it.
func build(dir string, flags []string, f fault) object {
	sources, err := filepath.Glob("*.[ch]")
	for _, name := range sources {
		b, failed := os.ReadFile(name)
		if name == f.File {
			b = faulttest.Fault(f).In(b)
		}
		err = errors.Join(err, failed, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	if err != nil {
		return object{err: err}
	}
	cmd := exec.Command("clang-19", append(flags, "-Wno-error", "-target", "bpfel", "-c", "dswitch.c", "-o", "dswitch.o")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return object{err: fmt.Errorf("%v: %w\n%s", cmd, err, out)}
	}
	spec, err := os.ReadFile(filepath.Join(dir, "dswitch.o"))
	return object{spec, err}
}

// options are those of a switch with these programs. Without vx_in, a third of what is to
// be verified is left out.
func (b object) options(vxIn bool) Options {
	return Options{read: func() (*ebpf.CollectionSpec, error) {
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b.spec))
		if err == nil && !vxIn {
			spec.Programs["vx_in"].Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol("vx_in"), asm.Return()}
		}
		return spec, err
	}}
}

// cflags are those with which the package's own object is compiled.
func cflags(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^//go:generate .*-cflags "([^"]*)"`).FindSubmatch(doc)
	if found == nil {
		t.Fatal("doc.go has no go:generate line with -cflags")
	}
	return strings.Fields(string(found[1]))
}

// caught says which check fails with these programs, and why, if one does. One of them is
// tried second.
func caught(t *testing.T, built object, second check) (by check, said string) {
	t.Helper()
	if built.err != nil {
		t.Fatal(built.err)
	}
	for i, c := range slices.Insert(slices.Clone(checks), 1, second) {
		if i > 1 && c.name == second.name {
			continue
		}
		trap := &trap{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.run(trap, built.options(c.vxIn))
		}()
		<-ended
		if strings.HasPrefix(trap.said, "load the programs") {
			t.Fatalf("a fault must load, to be of use: %s", trap.said)
		}
		if trap.said != "" {
			line, _, _ := strings.Cut(trap.said, "\n")
			return c, line[:min(len(line), 160)]
		}
	}
	return check{}, ""
}

// trap is a test whose failure is what is hoped for. It runs in a goroutine of
// its own, which the first failure ends.
type trap struct {
	testing.TB
	said string
}

func (t *trap) Error(args ...any)                 { t.note(fmt.Sprint(args...)) }
func (t *trap) Errorf(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }
func (t *trap) Logf(string, ...any)               {}

func (t *trap) Fatal(args ...any) {
	t.note(fmt.Sprint(args...))
	runtime.Goexit()
}

func (t *trap) Fatalf(format string, args ...any) {
	t.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (t *trap) note(what string) {
	if t.said == "" {
		t.said = what
	}
}
