with

final as (

    {{ value_repairs('transactions', ref('stg_transactions_parsed')) }}
    union all
    {{ value_repairs('client_profiles', ref('stg_client_profiles_parsed')) }}
    union all
    {{ value_repairs('str_labels', ref('stg_str_labels_parsed')) }}

)

select * from final
