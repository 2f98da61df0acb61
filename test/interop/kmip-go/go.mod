module okms-k8s-encryption-provider/test/interop/kmip-go

go 1.24

require github.com/ovh/kmip-go v0.7.0
