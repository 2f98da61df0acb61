package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/ovh/okms-sdk-go"
	"github.com/ovh/okms-sdk-go/types"
	"k8s.io/kms/pkg/service"
)

type restPlugin struct {
	client *okms.Client
	okmsID uuid.UUID
	label  string
	keyID  atomic.Pointer[uuid.UUID]
}

func newREST(o options) (service.Service, error) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in -ca")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: roots}
	client, err := okms.NewRestAPIClient(o.address, okms.ClientConfig{TlsCfg: config})
	if err != nil {
		return nil, err
	}
	okmsID, err := uuid.Parse(o.okmsID)
	if err != nil {
		return nil, err
	}
	plugin := &restPlugin{client: client, okmsID: okmsID, label: o.keyLabel}
	var keyID uuid.UUID
	if o.keyLabel == "" {
		if keyID, err = uuid.Parse(o.keyID); err != nil {
			return nil, err
		}
	}
	plugin.keyID.Store(&keyID)
	return plugin, plugin.validate()
}

func (p *restPlugin) Encrypt(ctx context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	slog.Info("Encrypting content")
	keyID := *p.keyID.Load()
	jwe, err := p.client.Encrypt(ctx, p.okmsID, keyID, "", plaintext)
	if err != nil {
		return nil, err
	}
	return &service.EncryptResponse{Ciphertext: []byte(jwe), KeyID: keyID.String()}, nil
}

func (p *restPlugin) Decrypt(ctx context.Context, _ string, asked *service.DecryptRequest) ([]byte, error) {
	slog.Info("Decrypting content")
	keyID, err := uuid.Parse(asked.KeyID)
	if err != nil {
		return nil, err
	}
	return p.client.Decrypt(ctx, p.okmsID, keyID, "", string(asked.Ciphertext))
}

func (p *restPlugin) Status(context.Context) (*service.StatusResponse, error) {
	slog.Info("Checking status")
	return status(p.validate(), p.keyID.Load().String())
}

// validate asks at each Status what the original asks: the list of active keys where there is a name, then the key.
func (p *restPlugin) validate() error {
	ctx := context.Background()
	keyID := *p.keyID.Load()
	if p.label != "" {
		active := types.KeyStatesActive
		count := 0
		for key, err := range p.client.ListAllServiceKeys(p.okmsID, nil, &active).Iter(ctx) {
			if err != nil {
				return err
			}
			if key.Name == p.label {
				count++
				keyID = key.Id
			}
		}
		if count != 1 {
			return fmt.Errorf("%d keys have the name %q", count, p.label)
		}
	}
	if _, err := p.client.GetServiceKey(ctx, p.okmsID, keyID, nil); err != nil {
		return err
	}
	p.keyID.Store(&keyID)
	return nil
}
