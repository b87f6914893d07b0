// Command cyclonus holds DOVE against the truth tables of cyclonus
// (github.com/mattfenwick/cyclonus), which others wrote for Kubernetes network policies.
//
// Cyclonus makes the cases and says what each cell should be; its Interpreter drives
// a cluster, which is this program's own: namespaces and policies are kept in
// memory, pods are guests of a lab of three hosts with real programs. Policies
// are translated by package imports/kubernetes and applied through the API, and
// the receipt says when they are enforced. Each cell gets three answers: what
// became of a real packet, what the DPC says (why), and what the dSwitches of both
// ends say that they would do. A cell is right if all three are the truth table's,
// and if all who drop do so by the DPC's rule. Silence is no drop: a switch has to
// say that policy dropped the packet. A cell without an answer is asked again, alone and
// with more time; if it has none then either, it is wrong.
//
// With --flat there is no DOVE: guests share a bridge. That run must fail, or the
// tables are worth nothing.
package main
