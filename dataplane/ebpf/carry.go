package ebpf

import (
	"errors"

	"dove.network/dataplane"
)

// Carried implements dataplane.Switch.
func (s *Switch) Carried(dataplane.PortID) ([]dataplane.FlowState, error) {
	return nil, errors.New("this switch does not carry flows yet")
}

// Adopt implements dataplane.Switch.
func (s *Switch) Adopt(dataplane.PortID, []dataplane.FlowState) error {
	return errors.New("this switch does not carry flows yet")
}
