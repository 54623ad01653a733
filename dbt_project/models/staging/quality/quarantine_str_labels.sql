{{ quarantine('str_labels', ref('stg_str_labels_parsed'), ['client_id', 'str_flag', 'str_date']) }}
