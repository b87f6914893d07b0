// Package control knows the conversation between a DPC member and a dSwitch:
// its messages as plain values, what each end may say, frontiers, receipts and
// resync.
//
// A dSwitch opens with Hello, which lists what it holds; what one message has no room
// for follows (Held). The member compares that in parts. Until it answers Welcome the dSwitch may say what
// becomes of its ports and addresses (EndpointUpdate, Claim), what it holds no more (Release)
// and Heartbeat, of all of it so much; all else ends the session. In place of Welcome it
// may hear Refusal or Elsewhere, which end it, too.
//
// With Welcome the member assigns the host's own endpoints (Assign, Unassign), lists the fleet
// (Tunnels, unless the dSwitch holds just that) and sends what differs from what is held. From then on the dSwitch
// asks (PolicyRequest), the member answers (PolicyReply) and later says what
// changed (Update), or what it will need (Expect). Everything to one host travels in one order; a Frontier
// closes the messages of a revision and is acknowledged (Ack) once the kernel
// enforces them.
//
// Beside that the member may ask what the dSwitch does now (Inspect): what it
// would do with a packet, which flows it carries, what begins and ends from now
// on. The dSwitch tells it (Report), and neither end keeps it. What a host tells
// is a claim: only the world says whether it is the host's to tell.
//
// While an endpoint moves, two hosts are assigned it, one of them on standby. The
// member asks the one that it moves from for its flows (CarryRequest), hands what
// it says (Carry) to the other, and keeps nothing of it; the other says with the
// state of its port that it has them (EndpointUpdate).
//
// A member may send a session to another one (Elsewhere); Members says where they are.
// What members say to each other (Across) makes one conversation of theirs: the Ledger
// knows of the sessions with all of them.
//
// Encode and Decode turn messages into protobuf bytes and back; Decode is the
// door: what it returns is well-formed, whatever the peer sent.
//
// The package knows no sockets, no clock and no policy.
package control
