// Command plugin is a KMS v2 plugin on the libraries of the Go original: k8s.io/kms, kmip-go's client, okms-sdk-go. For each
// call it does what the original does, no more and no less; it is what `npm run bench peer` measures this project against.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/kms/pkg/service"
)

type options struct {
	protocol, address, keyID, keyLabel, okmsID, cert, key, ca string
}

func main() {
	var o options
	sock := flag.String("sock", "/var/run/okms_etcd_plugin.sock", "Unix socket to listen on")
	timeout := flag.Duration("timeout", 10*time.Second, "timeout of the gRPC server")
	version := flag.Bool("version", false, "print the version")
	flag.StringVar(&o.protocol, "protocol", "", "kmip or rest")
	flag.StringVar(&o.address, "serv-addr", "", "address of the KMS")
	flag.StringVar(&o.keyID, "encryption-key-id", "", "identifier of the key")
	flag.StringVar(&o.keyLabel, "encryption-key-label", "", "name of the key")
	flag.StringVar(&o.okmsID, "okms-id", "", "domain; REST only")
	flag.StringVar(&o.cert, "client-cert", "", "client certificate")
	flag.StringVar(&o.key, "client-key", "", "its private key")
	flag.StringVar(&o.ca, "ca", "", "authorities of the KMS")
	flag.Parse()
	if *version {
		fmt.Println("peer")
		return
	}

	connect := map[string]func(options) (service.Service, error){"kmip": newKMIP, "rest": newREST}[o.protocol]
	if connect == nil {
		fail(fmt.Errorf("-protocol must be kmip or rest"))
	}
	plugin, err := connect(o)
	if err != nil {
		fail(err)
	}
	server := service.NewGRPCService(*sock, *timeout, plugin)
	go func() {
		slog.Info("Listening")
		if err := server.ListenAndServe(); err != nil {
			fail(err)
		}
	}()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	<-ended
	server.Shutdown()
}

func fail(err error) {
	slog.Error(err.Error())
	os.Exit(1)
}
