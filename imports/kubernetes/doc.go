// Package kubernetes translates NetworkPolicy (networking.k8s.io/v1),
// AdminNetworkPolicy and BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1)
// into blueprints.
//
// Translate gives three: of tier provider with what AdminNetworkPolicies say, of
// tier baseline, and the tenant's with NetworkPolicies. Pods are endpoints that
// carry the pod's labels, the labels of its namespace under keys of their own
// (NamespaceLabel), and its named ports; Endpoint says which. Namespaces and pods
// in the text say what they carry; policies need neither.
//
// Pods that no NetworkPolicy selects reach everything, as Kubernetes has it: the
// tenant's blueprint has a group of all pods whose default is to allow. Only
// endpoints with a namespace are pods; others on the domain's networks are
// addresses as any.
//
// What is refused: nodes and domain names as peers, fields that these versions do
// not have, objects of other kinds.
package kubernetes
