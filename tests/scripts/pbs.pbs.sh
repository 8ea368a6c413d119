#!/usr/bin/env bash

#PBS -N aflow-01234567
#PBS -q workq
#PBS -l select=1:ncpus=4:mem=3815MB
#PBS -l walltime=00:30:00
#PBS -e /home/me/.asyncflow/aflow-01234567/logs/
#PBS -o /home/me/.asyncflow/aflow-01234567/logs/

python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name pbs-0 --nthreads 2 --memory-limit 1.86GiB --nworkers 2 --nanny --death-timeout 60.0 --resources cores=2,memory=2000000000,pool-pbs=1099511627776 --dashboard-address 127.0.0.1:0 --no-dashboard --protocol tls --tls-ca-file /home/me/.asyncflow/aflow-01234567/tls/ca.pem --tls-cert /home/me/.asyncflow/aflow-01234567/tls/worker-cert.pem --tls-key /home/me/.asyncflow/aflow-01234567/tls/worker-key.pem --lifetime 1665s --lifetime-stagger 45s
