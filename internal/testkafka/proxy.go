package testkafka

// Proxy is a TCP proxy in front of one broker.
type Proxy struct{}

// NewProxy listens on a free loopback port and forwards to target.
func NewProxy(target string) (*Proxy, error) { panic("not yet") }

// Addr is where clients connect.
func (p *Proxy) Addr() string { return "" }

// Close ends the proxy and its connections.
func (p *Proxy) Close() {}
