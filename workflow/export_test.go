package workflow

// OneProtocolOlder makes an interceptor that writes what the protocol version before this
// one does, as workers of the release before still do while this one is rolled out.
func OneProtocolOlder(config Config) *Interceptor {
	i := NewInterceptor(config)
	i.protocol--
	return i
}
