// Package ebpf switches in the kernel: it is dataplane.Switch with eBPF programs
// on the devices of one network namespace.
//
// It knows devices, maps and programs. Open loads the programs, or takes over
// those of an earlier run with all that they hold, also where their maps look
// different (upgrade.go), and attaches them; SetPort
// attaches them to one more port. Apply turns ops into map writes. Packets stay
// in the kernel (dswitch.c says how they are judged); what the kernel cannot
// judge goes by Misses and comes back by Inject, what it refuses is sampled on
// Drops and counted in Counts.
//
// Addresses and class pairs are held in slots. A slot has a generation that only
// grows, and a flow remembers the generations that it was judged by, so one slot
// write has all flows behind it judged again. Tables are immutable and shared by
// digest. What is taken away rests until no program can still be looking at it.
//
// A Switch works in the network namespace of the thread that calls it; it never
// changes namespaces. It knows no DPC and decides no policy.
package ebpf

//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu" -type settings -type port_key -type port -type port_state -type network -type endpoint_key -type dest -type route -type gateway_key -type gateway -type absence -type permit_key -type permit -type vtep_key -type vtep -type pair_key -type pair_slot -type rule_key -type rule -type table -type name_key -type rule_name -type flow4_key -type flow6_key -type flow -type counter_key -type counter -type outcome -type turn_key -type turn dswitch dswitch.c
