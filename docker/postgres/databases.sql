-- Run once, on an empty volume.
create database mlflow;
create database mlflow_auth;
create database optuna;
