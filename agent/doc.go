// Package agent knows how a host reacts: an endpoint is assigned, a device
// appears, a packet misses, the DPC answers or says what changed.
//
// Core decides and does nothing else. Step takes events (Connected, Received,
// DeviceUp, Missed, Applied, Tick, ...) with the time, and returns effects
// (Send, Apply, Inject, Discard, Save) that the caller carries out in order. A
// missed packet is held, asked about once for all that wait for the same
// answer, and leaves Core exactly once: as Inject, after the Apply that holds
// the answer has succeeded, or as Discard with a reason. What the switch should
// hold and what it was last seen to hold are two values; the difference is
// what Apply carries, dependencies first, and what fails is tried again. A
// Frontier is acknowledged, and a port's state announced, when everything before it is in the
// switch and what the next start needs of it is written (Save, Written), for which nothing
// else waits.
//
// What the DPC sends unasked (Expect) is held like an answer: a peer that is about
// to send, the pairs of a class that an address is about to have. A Hint of the
// switch, a packet of another class than is held, has the peer asked about anew
// and holds nothing up.
//
// Without a session everything held stays in force. On the next one Hello lists
// it by digest, the member assigns every endpoint of the host again and sends
// only the rows that differ; what was assigned before and is not by the first
// Frontier is closed. Both ends always agree on what is held: a row that an
// answer brings too late is refused with a Release, one that an Update brings for
// what was released meanwhile is ignored.
//
// Of an endpoint that moves, Core has the flows of its port read when the DPC asks
// for them (ReadCarried), or gives the port those of the other host (Adopt), and
// says with the port's state when they and the rows that they need are in force.
//
// While the DPC wants to know what the host does now (Inspect), Core has the flow
// table read, once a second if it is observed, and reports what it finds in it
// and what the switch would do with a packet. It says nothing unasked.
//
// Agent is the shell around Core: who has something for it, from the
// switch, the devices, the session or the local socket, owns it in turn. Of several members it has a
// session with the one that admits it first. The socket is
// <state>/dswitch.sock (HTTP and JSON, for which Client has the calls). It keeps the last drops with
// the names of their endpoints.
//
// The package does not know how policy is made, how a switch lays out its
// tables, how devices are found or how bytes travel.
package agent
