package api

import (
	"dove.network/dove"
)

// WatchLine is one line of a watch: the changes of one revision. One without
// changes says where the watch is.
type WatchLine struct {
	Revision dove.Revision `json:"revision" doc:"Watch after this one to go on from here."`
	Changes  []WatchChange `json:"changes,omitempty"`
	Error    *Problem      `json:"error,omitempty" doc:"Why there is no more: this line is the last."`
}

// WatchChange is what became of one resource.
type WatchChange struct {
	Op       string      `json:"op" enum:"put,delete"`
	Kind     string      `json:"kind" enum:"tenant,blueprint,network,endpoint,host"`
	Tenant   dove.Tenant `json:"tenant,omitempty" doc:"Whose it is; of a tenant its own name."`
	Name     string      `json:"name"`
	Resource any         `json:"resource,omitempty" doc:"With put: the resource as a GET returns it, but without what hosts say of it."`
}
