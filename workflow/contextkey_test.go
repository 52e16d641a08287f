package workflow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContextKeyIsFound(t *testing.T) {
	require.NotEqual(t, unknownKey{}, outboundKey, "the SDK takes a workflow's outbound interceptor from elsewhere")
}
