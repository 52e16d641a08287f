package activity

import (
	"bytes"
	"sync"
)

// lastAddress decodes the address of a wave once for the tasks of it that are claimed
// together, and lets their handlers share it. The zero value is ready.
type lastAddress struct {
	mu      sync.Mutex
	common  []byte   // protected by mu
	address *address // protected by mu: of common, not to be changed
}

// of returns the address that a task's common data holds; it is read only.
func (l *lastAddress) of(common []byte) (*address, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address != nil && bytes.Equal(l.common, common) {
		return l.address, nil
	}
	a, err := decodeAddress(common)
	if err == nil {
		l.common, l.address = common, a
	}
	return a, err
}
