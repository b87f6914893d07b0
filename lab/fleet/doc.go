// Package fleet knows a fleet without switches: thousands of hosts in one process, each
// with a certificate of its own and a real session with a real dpc, which runs as a
// process beside it. ControlBench measures that dpc.
//
// A host here is the least that the conversation allows: it takes what it is assigned,
// says so, acknowledges each frontier at once and asks what it is told to ask. So what
// is measured is the dpc, the connection and as little of the other end as can be.
//
// The package knows no packets, no namespaces and nothing of what a dpc is inside.
package fleet
