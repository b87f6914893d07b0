// Package scenario knows the text format of the tests: a world of hosts,
// tenants, blueprints and endpoints, the steps that change it, and what is
// expected after each.
//
// Parse turns text into a Scenario, or reports every fault with its line; what
// it returns is consistent (no step names a host, endpoint or flow that is not
// there), so that those who run it can trust it. Format prints one back.
//
// One file is one scenario, a line a step, in the order in which they happen:
//
//	# A comment stands on its own line or behind a step.
//	scenario web may call app, nobody else may
//	hosts h1 h2
//	foreign store                 # no dSwitch there, but a plain VXLAN device
//
//	blueprint acme <<END          # apply: a new document or a new version of it
//	apiVersion: dove/v1
//	...
//	END
//	withdraw acme/shop            # delete a blueprint
//	network acme/slow domain=shop subnets=10.0.9.0/24 mtu=1300
//
//	endpoint acme/web-1 groups=shop/web host=h1 addrs=10.0.1.11,fd00:0:0:1::11
//	endpoint acme/lone network=front addrs=10.0.1.99
//	endpoint acme/web-1-db groups=shop/db parent=web-1 vlan=7 addrs=10.0.2.11   # a sub-port: it goes where its parent goes
//	regroup acme/web-1 groups=shop/web,shop/audit
//	move acme/web-1 h2
//	prepare acme/web-1 on h1      # a live move: a second binding, on standby
//	activate acme/web-1           # swap them; the workload goes on at h1
//	finish acme/web-1             # take the one on standby away
//	unplug acme/web-1
//	plug acme/web-1
//	delete acme/web-1
//
//	expect acme/web-1 -> acme/app-1 tcp/8080 allow rule=shop/web-app
//	expect acme/web-1 -> acme/db-1 ping deny rule=default-deny over=v6
//	expect acme/web-1 -> 10.0.1.77 udp/53 no-endpoint
//	expect acme/web-1 -> 10.9.0.7 udp/53 allow by=nat-1,nat-2   # many flows, by each of these
//	expect acme/web-1 -> acme/app-1 ping allow size=8000   # bytes, in fragments
//	expect acme/web-1 -> acme/app-1 udp/53 too-big size=8000   # in one piece
//	expect acme/web-1 -> acme/app-1 tcp/22 allow log=yes would=deny shadow=shop/no-ssh
//	expect acme/web-1 -> acme/app-1 udp/53 no-reply rule=default-deny   # arrives, and its answer does not
//	expect matrix tcp/8080 udp/53 ping
//
//	flow sale acme/web-1 -> acme/app-1 tcp/8080
//	expect flow sale passes       # or: blocked
//	expect flow sale answers      # passes, when the responder sends first
//
//	refuse invalid "unknown group" blueprint acme <<END
//	...
//	END
//	forge wrong-vtep acme/web-1 -> acme/app-1 tcp/8080 drop=source-mismatch
//
//	kill dswitch h1               # as a crash does; started again at once
//	kill dpc
//	stop dswitch h1               # in order, until "start dswitch h1"
//	stop dpc
//	cut h1 dpc                    # until "heal h1 dpc"
//	cut h1 h2                     # the underlay between two hosts
//	expect acme/web-1 -> acme/app-1 tcp/8080 no-answer
//	pass 40s                      # a policy of until: "now+40s" ends, if that was in a document just applied
//
// An endpoint with host= is created, bound there and plugged in. Its network is
// the one that its groups have as default unless network= names one. A probe is
// tcp/PORT, udp/PORT, sctp/PORT, icmp/TYPE[/CODE], icmpv6/TYPE[/CODE],
// proto/NUMBER or ping, which is the echo request of the family at hand. A step
// is done before the next begins: a change is in force on every host that the
// DPC can reach, and who comes back has caught up. Outage follows what is
// stopped and cut.
//
// The same scenario runs at several levels, elsewhere: asked of the oracle, of
// compiled tables, sent as packets through switches in memory or in the kernel.
// A level that cannot carry out a step (the oracle forges no frames) says so. Of
// each step a level says what happened; Narrate weaves that into the text.
//
// The package knows nothing of what blueprints say, nor how steps are carried out.
package scenario
