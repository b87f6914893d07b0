package memory_test

import (
	"testing"

	"dove.network/store/memory"
	"dove.network/store/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, memory.New()) }
