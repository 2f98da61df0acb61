package main

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// delayed makes each connection of a listener as far away as the delay says, one way: what is read and what is written
// arrives so much later, handshakes included. Only the TCP handshake is as fast as before.
func delayed(listener net.Listener, oneWay time.Duration) net.Listener {
	if oneWay == 0 {
		return listener
	}
	line := &delayLine{oneWay: oneWay, waiting: make(chan parcel, 1<<16)}
	go line.run()
	return &delayedListener{listener, line}
}

type parcel struct {
	due     time.Time
	deliver func()
}

// delayLine delivers in the order of arrival: the delay is the same for all. The runtime's own timers are too coarse.
type delayLine struct {
	oneWay  time.Duration
	waiting chan parcel
}

func (l *delayLine) run() {
	for next := range l.waiting {
		// The runtime's signals end a sleep early.
		for rest := time.Until(next.due); rest > 0; rest = time.Until(next.due) {
			span := syscall.NsecToTimespec(rest.Nanoseconds())
			_ = syscall.Nanosleep(&span, nil)
		}
		next.deliver()
	}
}

func (l *delayLine) later(deliver func()) {
	l.waiting <- parcel{time.Now().Add(l.oneWay), deliver}
}

type delayedListener struct {
	net.Listener
	line *delayLine
}

func (l *delayedListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	far := &delayedConn{Conn: connection, line: l.line}
	far.arrived.L = &far.lock
	go far.receive()
	return far, nil
}

type delayedConn struct {
	net.Conn
	line    *delayLine
	lock    sync.Mutex
	arrived sync.Cond
	read    []byte
	failed  error
}

func (c *delayedConn) receive() {
	buffer := make([]byte, 32<<10)
	for {
		count, err := c.Conn.Read(buffer)
		chunk := append([]byte(nil), buffer[:count]...)
		c.line.later(func() {
			c.lock.Lock()
			c.read, c.failed = append(c.read, chunk...), err
			c.lock.Unlock()
			c.arrived.Signal()
		})
		if err != nil {
			return
		}
	}
}

func (c *delayedConn) Read(into []byte) (int, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for len(c.read) == 0 {
		if c.failed != nil {
			return 0, c.failed
		}
		c.arrived.Wait()
	}
	count := copy(into, c.read)
	c.read = c.read[count:]
	return count, nil
}

func (c *delayedConn) Write(bytes []byte) (int, error) {
	chunk := append([]byte(nil), bytes...)
	c.line.later(func() { _, _ = c.Conn.Write(chunk) })
	return len(bytes), nil
}

func (c *delayedConn) Close() error {
	c.line.later(func() { _ = c.Conn.Close() })
	return nil
}
