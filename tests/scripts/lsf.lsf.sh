#!/usr/bin/env bash

#BSUB -J aflow-01234567
#BSUB -e /home/me/.asyncflow/aflow-01234567/logs/lsf-0-%J.err
#BSUB -o /home/me/.asyncflow/aflow-01234567/logs/lsf-0-%J.out
#BSUB -q normal
#BSUB -P "project123"
#BSUB -n 4
#BSUB -R "span[hosts=1]"
#BSUB -M 4000
#BSUB -W 00:30

python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name lsf-0 --nthreads 2 --memory-limit 1.86GiB --nworkers 2 --nanny --death-timeout 60.0 --resources cores=2,memory=2000000000,pool-lsf=1099511627776 --dashboard-address 127.0.0.1:0 --no-dashboard --protocol tls --tls-ca-file /home/me/.asyncflow/aflow-01234567/tls/ca.pem --tls-cert /home/me/.asyncflow/aflow-01234567/tls/worker-cert.pem --tls-key /home/me/.asyncflow/aflow-01234567/tls/worker-key.pem --lifetime 1665s --lifetime-stagger 45s --interface ib0
