with

final as (

    select
        attribute,
        group_name,
        model,
        reason,
        cast(negative_clients_count as bigint) as negative_clients_count,
        cast(alerted_negative_clients_count as bigint) as alerted_negative_clients_count,
        cast(false_positive_ratio as double) as false_positive_ratio,
        cast(false_positive_low as double) as false_positive_low,
        cast(false_positive_high as double) as false_positive_high,
        cast(positive_clients_count as bigint) as positive_clients_count,
        cast(found_clients_count as bigint) as found_clients_count,
        cast(recall_ratio as double) as recall_ratio,
        cast(recall_low as double) as recall_low,
        cast(recall_high as double) as recall_high,
        cast(is_few_clients as boolean) as is_few_clients,
        cast(is_few_positive_clients as boolean) as is_few_positive_clients
    from {{ source('evaluation', 'parity') }}

)

select * from final
