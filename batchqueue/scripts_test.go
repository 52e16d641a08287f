package batchqueue

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A script carries what it uses of the shared definitions, whatever they need in turn, in order, and nothing else.
func TestScriptsCarryWhatTheyUse(t *testing.T) {
	text := `local P = KEYS[1]
local A, B = P .. 'a', 1
-- not used is used by nobody
local unused = P
local function inner(x)
  return x + B
end

local function outer(x) return inner(x) end
`
	require.Equal(t, "local P = KEYS[1]\nlocal A, B = P .. 'a', 1\nlocal function inner(x)\n  return x + B\nend\n\nlocal function outer(x) return inner(x) end\n",
		definitions(text, "return outer(1)"))
	require.Equal(t, "local P = KEYS[1]\n", definitions(text, "-- outer would do\nreturn P"))
	require.Empty(t, definitions(text, "return 1"))

	require.NotContains(t, rateScript.bare.source, "local P =", "it uses no key of a slot")
	require.Less(t, strings.Count(claimScript.bare.source, "local function"), strings.Count(settleScript.bare.source, "local function"))
}
