package kubernetes

import (
	"fmt"
	"maps"
	"strings"

	"dove.network/blueprint"
	"dove.network/imports"
)

// NamespaceName is the label that every namespace has of itself: its name.
const NamespaceName = "kubernetes.io/metadata.name"

// NamespaceLabel is the key under which an endpoint carries a label of its pod's
// namespace: namespace/KEY, or namespace.PREFIX/KEY where the key has a prefix.
// No other key gives the same.
func NamespaceLabel(key string) string {
	if prefix, name, cut := strings.Cut(key, "/"); cut {
		return "namespace." + prefix + "/" + name
	}
	return "namespace/" + key
}

// reserved reports whether a pod's label would be taken for one of its namespace.
func reserved(key string) bool {
	prefix, _, cut := strings.Cut(key, "/")
	return cut && (prefix == "namespace" || strings.HasPrefix(prefix, "namespace."))
}

// Labels returns what the endpoint of a pod carries: the pod's labels and those
// of its namespace, whose name is among them.
func Labels(namespace string, ofNamespace, ofPod map[string]string) (map[string]string, error) {
	all := map[string]string{}
	for key, value := range ofPod {
		if reserved(key) {
			return nil, fmt.Errorf("label %q of a pod would be taken for one of its namespace: choose another key", key)
		}
		all[key] = value
	}
	for key, value := range ofNamespace {
		all[NamespaceLabel(key)] = value
	}
	all[NamespaceLabel(NamespaceName)] = namespace
	for key, value := range all {
		if err := blueprint.CheckLabel(key, value); err != nil {
			return nil, err
		}
	}
	if len(all) > blueprint.LabelsMax {
		return nil, fmt.Errorf("a pod and its namespace have %d labels, an endpoint at most %d", len(all), blueprint.LabelsMax)
	}
	return all, nil
}

// Endpoint returns what the endpoint of a pod carries. Ports are the named ones of
// its containers, as "tcp/80".
func Endpoint(namespace, name string, ofNamespace, ofPod, ports map[string]string) (imports.Endpoint, error) {
	labels, err := Labels(namespace, ofNamespace, ofPod)
	return imports.Endpoint{Name: namespace + "/" + name, Labels: labels, Ports: maps.Clone(ports)}, err
}
