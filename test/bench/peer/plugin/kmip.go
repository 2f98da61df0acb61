package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"
	"github.com/ovh/kmip-go/ttlv"
	"k8s.io/kms/pkg/service"
)

const (
	algorithmAnnotation = "alg.okms.ovh.com"
	ivAnnotation        = "iv.okms.ovh.com"
	algorithm           = "AES_GCM"
	ivBytes             = 12
	tagBytes            = 16
)

var parameters = kmip.CryptographicParameters{
	CryptographicAlgorithm: kmip.CryptographicAlgorithmAES,
	BlockCipherMode:        kmip.BlockCipherModeGCM,
	TagLength:              tagBytes,
	IVLength:               ivBytes,
}

type kmipPlugin struct {
	client *kmipclient.Client
	label  string
	keyID  atomic.Pointer[string]
}

func newKMIP(o options) (service.Service, error) {
	client, err := kmipclient.Dial(o.address,
		kmipclient.WithClientCertFiles(o.cert, o.key), kmipclient.WithRootCAFile(o.ca))
	if err != nil {
		return nil, err
	}
	plugin := &kmipPlugin{client: client, label: o.keyLabel}
	plugin.keyID.Store(&o.keyID)
	return plugin, plugin.validate()
}

func (p *kmipPlugin) hasTagField() bool {
	return ttlv.CompareVersions(p.client.Version(), kmip.V1_4) >= 0
}

func (p *kmipPlugin) Encrypt(ctx context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	slog.Info("Encrypting content")
	iv := make([]byte, ivBytes)
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	keyID := *p.keyID.Load()
	made, err := p.client.Encrypt(keyID).
		WithCryptographicParameters(parameters).WithIvCounterNonce(iv).Data(plaintext).ExecContext(ctx)
	if err != nil {
		slog.Error("Encryption failed", "err", err)
		return nil, err
	}
	return &service.EncryptResponse{
		Ciphertext:  append(made.Data, made.AuthenticatedEncryptionTag...),
		KeyID:       keyID,
		Annotations: map[string][]byte{algorithmAnnotation: []byte(algorithm), ivAnnotation: iv},
	}, nil
}

func (p *kmipPlugin) Decrypt(ctx context.Context, _ string, asked *service.DecryptRequest) ([]byte, error) {
	slog.Info("Decrypting content")
	if name, ok := asked.Annotations[algorithmAnnotation]; ok && string(name) != algorithm {
		return nil, fmt.Errorf("unsupported algorithm: %s", name)
	}
	builder := p.client.Decrypt(asked.KeyID).
		WithCryptographicParameters(parameters).WithIvCounterNonce(asked.Annotations[ivAnnotation])
	data := asked.Ciphertext
	if p.hasTagField() {
		end := len(data) - tagBytes
		builder, data = builder.WithAuthTag(data[end:]), data[:end]
	}
	opened, err := builder.Data(data).ExecContext(ctx)
	if err != nil {
		slog.Error("Decryption failed", "err", err)
		return nil, err
	}
	return opened.Data, nil
}

func (p *kmipPlugin) Status(context.Context) (*service.StatusResponse, error) {
	slog.Info("Checking status")
	return status(p.validate(), *p.keyID.Load())
}

// validate asks at each Status what the original asks: the name where there is one, the key's material, its attributes.
func (p *kmipPlugin) validate() error {
	keyID := *p.keyID.Load()
	if p.label != "" {
		found, err := p.client.Locate().WithName(p.label).Exec()
		if err != nil {
			return err
		}
		if len(found.UniqueIdentifier) == 0 {
			return fmt.Errorf("no key has the name %q", p.label)
		}
		keyID = found.UniqueIdentifier[0]
	}
	if _, err := p.client.Get(keyID).Exec(); err != nil {
		return err
	}
	p.keyID.Store(&keyID)
	found, err := p.client.GetAttributes(keyID,
		kmip.AttributeNameCryptographicAlgorithm, kmip.AttributeNameCryptographicUsageMask).Exec()
	if err != nil {
		return err
	}
	if len(found.Attribute) != 2 {
		return errors.New("not the two attributes that were asked for")
	}
	needed := kmip.CryptographicUsageEncrypt | kmip.CryptographicUsageDecrypt
	for _, attribute := range found.Attribute {
		switch value := attribute.AttributeValue.(type) {
		case kmip.CryptographicAlgorithm:
			if value != kmip.CryptographicAlgorithmAES {
				return errors.New("not an AES key")
			}
		case kmip.CryptographicUsageMask:
			if value&needed != needed {
				return errors.New("not a key for encrypt and decrypt")
			}
		}
	}
	return nil
}

// status is what the original answers, with the error beside it where there is one.
func status(err error, keyID string) (*service.StatusResponse, error) {
	healthz := "ok"
	if err != nil {
		slog.Error("Status is not ok", "err", err)
		healthz = "ko"
	}
	return &service.StatusResponse{Version: "v2", Healthz: healthz, KeyID: keyID}, err
}
